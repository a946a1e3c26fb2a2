import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.store.charts import (
    Frame,
    Series,
    Whisker,
    draw_lines,
    draw_shares,
    draw_whiskers,
    running_mean,
    short,
    ticks,
)

numbers = st.floats(-1e9, 1e9).map(lambda x: 0.0 if abs(x) < 1e-9 else x)


def test_a_running_mean_looks_as_far_back_as_ahead() -> None:
    points = ((0.0, 1.0), (1.0, 2.0), (2.0, 6.0), (3.0, 4.0))
    # (1), (1 + 2 + 6) / 3, (2 + 6 + 4) / 3, (4)
    assert running_mean(points, 1) == ((0.0, 1.0), (1.0, 3.0), (2.0, 4.0), (3.0, 4.0))


@given(numbers, numbers)
def test_ticks_are_few_round_and_inside(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    found = ticks(low, high)
    room = (high - low) * 1e-6
    assert len(found) <= 6 and all(low - room <= t <= high + room for t in found)


def test_ticks_by_hand() -> None:
    assert ticks(0, 1) == [0, 0.25, 0.5, 0.75, 1]
    assert ticks(0, 60, 5) == [0, 20, 40, 60]
    assert ticks(3, 3) == [3]


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (0.12345, "0.123"), (1234, "1234"), (12345, "12.3k"), (2.5e6, "2.5M"), (1e-6, "1.0e-06")],
)
def test_numbers_are_short(value: float, words: str) -> None:
    assert short(value) == words


def test_a_frame_puts_corners_in_corners() -> None:
    frame = Frame(340, 170, (0, 10), (0, 1))
    assert frame.at((0, 0)) == (44, 146) and frame.at((10, 1)) == (328, 10)
    assert Frame(340, 170, (5, 5), (1, 1)).at((5, 1)) == (44, 146), "one point is a drawing too"


def test_whiskers_stand_where_their_numbers_are() -> None:
    svg = draw_whiskers([Whisker("sampled", "before", 0.5, 0.25, 0.75, 5)], title="t")
    # the scale runs from 168 to 650
    assert 'x1="288.5" x2="529.5"' in svg and 'cx="409.0"' in svg and "50.0 %" in svg
    assert draw_whiskers([], title="t") == ""


def test_shares_fill_the_height() -> None:
    svg = draw_shares([(1, [1, 3]), (2, [0, 2])], ["1", "2"], title="t", colours="ramp")
    assert "step 1: 1 25 %" in svg and "step 1: 2 75 %" in svg and svg.count("<rect") == 3
    assert draw_shares([], [], title="t", colours="ramp") == ""


@given(st.lists(st.tuples(st.integers(0, 300), numbers), max_size=60))
def test_any_curve_can_be_drawn(points: list[tuple[int, float]]) -> None:
    svg = draw_lines([Series("x", tuple((float(a), b) for a, b in points))], title="t", span=(0, 300))
    assert "nan" not in svg and "inf" not in svg.replace("info", "")
    assert bool(svg) == bool(points) and not math.isnan(len(svg))
