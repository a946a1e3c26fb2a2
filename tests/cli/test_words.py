from hypothesis import given
from hypothesis import strategies as st

from evolvent.cli.words import BARS, one_line, percent, printable, sparkline


@given(st.text())
def test_nothing_that_a_model_says_can_move_the_cursor(text):
    assert all(c.isprintable() or c == "\n" for c in printable(text))
    assert "\n" not in one_line(text)
    assert len(one_line(text, 20)) <= 20


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.integers(1, 60))
def test_a_sparkline_has_a_bar_for_each_value_up_to_its_width(values, width):
    drawn = sparkline(values, width)
    assert len(drawn) == min(width, len(values))
    assert set(drawn) <= set(BARS)


def test_a_sparkline_of_known_values():
    assert sparkline([0, 1]) == BARS[0] + BARS[-1]
    assert sparkline([0.5], low=0, high=1) in BARS[3:5]
    assert sparkline([]) == ""


def test_a_share_that_is_not_known_is_a_dash():
    assert (percent(None), percent(0.5)) == ("-", "50.0 %")
