import math

import pytest

from evolvent.evals.compare import align, as_numbers, cells_drawn, compare_levels, gain, skill_gap, verdict
from evolvent.records import Cell, Estimate, Report


def cell(level, scores, *, tool=None, right=None, ids=None, family="f"):
    num = len(scores)
    ids = tuple(ids or (f"{level}{i}" for i in range(num)))
    tool = tuple(tool or (0.0,) * num)
    right = tuple(right or (0.0,) * num)
    return Cell(family, level, ids, tuple(map(float, scores)), tool, right, tuple(map(float, scores)), (1.0,) * num)


def report(*cells, name="before"):
    return Report(1, name, cells, {})


def test_cells_are_paired_by_task_and_not_by_place():
    left, right = align(cell(1, [1, 0, 1], ids="abc"), cell(1, [0, 1, 1], ids="cxa"))
    assert (left.task_ids, right.task_ids) == (("a", "c"), ("a", "c"))
    assert (left.scores, right.scores) == ((1.0, 1.0), (1.0, 0.0))


def test_the_gain_is_over_the_tasks_that_both_sides_measured():
    # a: 0 -> 1, b: 1 -> 1, c: only before, d: only after; so (1 + 0) / 2
    before = report(cell(1, [0, 1, 0], ids="abc"))
    after = report(cell(1, [1, 1, 0], ids="bad"))
    made = gain(before, after, [("f", 1)])
    assert (made.value, made.num) == (0.5, 2)
    assert made.low <= 0.5 <= made.high
    nothing = gain(before, after, [("f", 9)])
    assert math.isnan(nothing.value) and nothing.num == 0


def test_the_order_of_the_tasks_changes_no_interval_beyond_the_draw():
    scores = [i % 3 == 0 for i in range(60)]
    made = gain(report(cell(1, [0] * 60)), report(cell(1, scores)), [("f", 1)])
    assert made.value == pytest.approx(1 / 3)
    assert 0.15 < made.low < 0.30
    assert 0.37 < made.high < 0.5


def test_a_level_is_reached_when_trained_half_right_and_better_than_before():
    before = report(*(cell(n, [0] * 40) for n in (1, 2, 3, 4)), cell(5, [1] * 40))
    after = report(
        cell(1, [1] * 40),  # trained, right: reached
        cell(2, [1] * 19 + [0] * 21),  # trained, below a half
        cell(3, [1] * 40),  # never trained
        cell(4, [0] * 40),  # trained, nothing gained
        cell(5, [1] * 40),  # trained, right before already
        name="after",
    )
    trained = {("f", n) for n in (1, 2, 4, 5, 7)}
    rows = compare_levels(before, after, start={("f", 1)}, cold={("f", 1), ("f", 2)}, trained=trained)
    assert {r["level"]: r["reached"] for r in rows} == {1: True, 2: False, 3: False, 4: False, 5: False, 7: None}
    assert [r["start"] for r in rows] == [True] + [False] * 5
    assert [r["in_cold_start"] for r in rows] == [True, True, False, False, False, False]
    assert (rows[1]["before"], rows[1]["after"]) == (0.0, 0.475)
    assert rows[-1] == {
        "family": "f", "level": 7, "start": False, "in_cold_start": False,
        "reached": None, "before": None, "after": None, "low": None, "high": None,
    }  # fmt: skip


def test_exactly_a_half_is_reached():
    before, after = report(cell(1, [0] * 40)), report(cell(1, [1, 0] * 20))
    (row,) = compare_levels(before, after, start=(), cold=(), trained={("f", 1)})
    assert row["reached"] is True


def test_a_level_measured_on_one_side_only_is_unknown():
    for before, after in (
        (report(), report(cell(1, [1]))),
        (report(cell(1, [1], ids="a")), report(cell(1, [1], ids="b"))),
    ):
        (row,) = compare_levels(before, after, start=(), cold=(), trained={("f", 1)})
        assert (row["reached"], row["after"], row["low"]) == (None, None, None)


def test_skill_is_accuracy_given_the_tool_against_the_control():
    # ours: the tool in 4 of 4, right in 3; theirs: the tool in 2 of 4, right in 1: 3/4 - 1/2
    ours = report(cell(2, [1, 1, 1, 0], tool=(1, 1, 1, 1), right=(1, 1, 1, 0)))
    theirs = report(cell(2, [1, 0, 0, 0], tool=(1, 1, 0, 0), right=(1, 0, 0, 0)))
    made = skill_gap(ours, theirs, [("f", 2)])
    assert made.value == pytest.approx(0.25)
    assert made.num == 4
    assert math.isnan(skill_gap(ours, theirs, [("f", 9)]).value)


GAIN, NONE = Estimate(0.4, 0.3, 0.5, 512), Estimate(0.01, -0.02, 0.04, 512)
NAN = Estimate(math.nan, math.nan, math.nan, 0)


@pytest.mark.parametrize(
    ("difference", "skill", "begin", "part"),
    [
        (NONE, GAIN, "no gain:", "holds zero"),
        (Estimate(-0.4, -0.5, -0.3, 512), GAIN, "a loss:", "below zero"),
        (NAN, None, "nothing to compare:", "both sides"),
        (GAIN, None, "strategy, not skill:", "no control to compare with"),
        (GAIN, NONE, "strategy, not skill:", "no better than in sft-0-1"),
        (GAIN, NAN, "strategy, not skill:", "nothing to compare"),
        (GAIN, Estimate(0.2, 0.1, 0.3, 512), "strategy and skill:", "+0.20 [+0.10, +0.30] against sft-0-1"),
    ],
)
def test_the_verdict_claims_no_more_than_was_measured(difference, skill, begin, part):
    words = verdict(difference, 0.25, skill, "sft-0-1")
    assert words.startswith(begin)
    assert part in words
    if difference is GAIN:
        assert "reproduces 25% of the gain" in words


def test_forcing_that_makes_it_worse_reproduces_nothing():
    assert "reproduces 0% of the gain" in verdict(GAIN, -0.5, None, "")
    assert verdict(GAIN, 0.0, None, "", uses_tool=False).startswith("strategy, not skill: no tool was called")


def test_what_is_not_a_number_becomes_null():
    assert as_numbers(NAN) == {"value": None, "low": None, "high": None, "num": 0}
    assert as_numbers(None) is None


def test_the_cells_of_a_phase_are_those_that_its_steps_drew():
    lines = [
        {"phase": "cold start", "levels": {"chain:1": 4}},
        {"phase": "practice", "levels": {"chain:1": 2, "reasoning_gym:maze:2": 1}},
        {"before/sampled": 0.5},
    ]
    assert cells_drawn(lines, "cold start") == {("chain", 1)}
    assert cells_drawn(lines, "practice") == {("chain", 1), ("reasoning_gym:maze", 2)}
