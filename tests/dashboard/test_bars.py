import re

from dashboard.reader import Reader, dangers
from evolvent.dashboard.bars import WIDTH, draw_axis, draw_interval, draw_spark, write_estimate
from evolvent.dashboard.scale import lay_scale

SCALE = lay_scale([0.1, 0.9], True)
ROW = {"measured": {"value": 0.5, "low": 0.3, "high": 0.7}, "likely": {"value": 0.4, "low": None, "high": None}}


def test_an_interval_lies_around_its_value_and_on_the_line_of_all():
    svg = draw_interval(SCALE, ROW)
    [line] = Reader(svg).named("line")
    dots = Reader(svg).named("circle")
    assert float(line["x1"]) < float(dots[0]["cx"]) < float(line["x2"]) <= WIDTH
    assert [dot["class"] for dot in dots] == ["measured", "likely"], "an end that nobody knows is not drawn"
    assert "measured 0.500, 0.300 to 0.700; likely 0.400" in svg and dangers(svg) == []


def test_three_numbers_do_not_lie_on_each_other():
    row = {name: {"value": 0.5, "low": 0.4, "high": 0.6} for name in ("measured", "likely", "holdout")}
    heights = re.findall(r'cy="([\d.]+)"', draw_interval(SCALE, row))
    assert len(set(heights)) == 3


def test_what_lies_far_outside_stays_in_the_picture():
    svg = draw_interval(SCALE, {"measured": {"value": 50.0, "low": -1e9, "high": 1e9}})
    assert all(0 <= float(x) <= WIDTH for x in re.findall(r'[c]?x[12]?="([-\d.]+)"', svg))


def test_a_row_without_a_number_says_so():
    assert "no number yet" in draw_interval(SCALE, {"measured": None})
    assert write_estimate(SCALE, {"value": 0.5, "low": None, "high": None}) == "0.500"


def test_the_axis_has_the_same_numbers_as_the_bars():
    assert re.findall(r">([\d.]+)</text>", draw_axis(SCALE)) == ["0.25", "0.50", "0.75"]


def test_a_spark_climbs_with_what_was_kept():
    svg = draw_spark([(1, 0.5), (4, 0.4), (6, 0.9)], 10, True)
    assert "1 improvement in 10 runs" in svg and svg.count("V") == 1, "a lower number is no step"
    assert "2 improvements" in draw_spark([(1, 4.0), (4, 3.0), (6, 2.0)], 10, False)
    assert draw_spark([], 10, True) == ""
    assert "NaN" not in draw_spark([(1, 1.0)], 1, True)
