import math

from hypothesis import given
from hypothesis import strategies as st

from evolvent.dashboard.scale import lay_scale, write_number, write_ticks

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(NUMBERS, max_size=40), st.booleans())
def test_every_number_has_a_place_and_the_best_is_inside(values, is_more_better):
    scale = lay_scale(values, is_more_better)
    assert scale.low < scale.high
    assert all(0 <= scale.share(value) <= 1 for value in values)
    if values:
        best = max(values) if is_more_better else min(values)
        assert scale.low <= best <= scale.high


def test_a_few_bad_numbers_do_not_press_the_others_together():
    values = [0.90 + i / 1000 for i in range(40)] + [0.1, 0.0]
    assert lay_scale(values, True).low > 0.85
    assert lay_scale([-v for v in values], False).high < -0.85
    assert lay_scale([0.9, 0.0], True).low < 0, "of two numbers none is an outlier"


def test_a_good_outlier_is_never_cut_off():
    scale = lay_scale([1.0] * 20 + [1.01] * 20 + [5.0], True)
    assert scale.high > 5


def test_numbers_of_a_column_have_as_many_decimals():
    scale = lay_scale([2.0814, 2.0727, 2.1], False)
    assert [scale.write(v) for v in (2.0814, 2.0727, 2.1)] == ["2.0814", "2.0727", "2.1000"]
    assert lay_scale([1200.0, 3400.0], True).write(1200.0) == "1,200"


def test_what_is_no_number_is_a_dash():
    assert [write_number(v) for v in (None, math.nan, math.inf)] == ["\u2013"] * 3
    assert write_number(-1.5, 1) == "\u22121.5"
    assert write_number(1e300, 3) == "1e+300"


def test_ticks_have_as_many_decimals_as_the_finest_needs():
    assert write_ticks([0.9, 0.95, 1.0]) == ["0.90", "0.95", "1.00"]
    assert write_ticks([0.0, 1000.0]) == ["0", "1,000"]
    assert write_ticks([]) == []
