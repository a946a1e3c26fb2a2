import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.curriculum import Frontier, Uniform
from evolvent.errors import BadInput
from evolvent.records import Cell, Estimate, Report
from evolvent.seeds import stream

A1, A2, A3, B1 = ("a", 1), ("a", 2), ("a", 3), ("b", 1)


class Families:
    """A source of cells alone: the frontier never asks for a task."""

    def __init__(self, **levels):
        self._levels = levels
        self.families = tuple(levels)

    def levels(self, family):
        return self._levels[family]


SOURCE = Families(a=(1, 2, 3), b=(1,))


def live(source=SOURCE, **fields):
    return Frontier(**{"eps": 0.05, "memory": 0.0, **fields}).begin(source)


def practise(frontier, *steps):
    for scores in steps:
        frontier.observe(scores)
    return frontier


@pytest.mark.parametrize(("p", "mixed"), [(0.5, 0.992), (0.1, 0.570), (0.01, 0.077)])
def test_why_the_middle_a_group_of_eight_has_signal_only_where_it_is_mixed(p, mixed):
    # P(mixed) = 1 - p^8 - (1 - p)^8; 4p(1-p) has the same order: 1, 0.36, 0.0396
    assert 1 - p**8 - (1 - p) ** 8 == pytest.approx(mixed, abs=5e-4)
    frontier = practise(live(source=Families(a=(1,))), {A1: [p]})
    assert frontier.weights() == {A1: pytest.approx(4 * p * (1 - p) + 0.05)}


def test_weights_worked_by_hand():
    frontier = practise(live(start_levels=3, raise_above=1.0), {A1: [1, 0, 0, 0], A2: [1, 1], B1: [0, 0]})
    # 4 x 1/4 x 3/4 = 3/4; solved always or never: eps alone; never seen: p = 1/2 weighs 1
    assert frontier.weights() == {A1: pytest.approx(0.8), A2: 0.05, A3: 1.05, B1: 0.05}


def test_cells_are_drawn_in_proportion_to_their_weights():
    frontier = practise(live(start_levels=2, raise_above=1.0), {A1: [1, 0, 0, 0], A2: [1, 1], B1: [0, 1]})
    drawn = frontier.draw(20000, Random(0))
    # weights 0.8, 0.05, 1.05 of 1.9
    assert [drawn.count(c) / 20000 for c in (A1, A2, B1)] == pytest.approx([0.421, 0.026, 0.553], abs=0.015)


def test_the_running_rate_forgets_at_the_pace_of_memory():
    frontier = practise(live(memory=0.7), {A1: [1, 0]}, {A1: [1, 1]}, {A1: [0, 0]})
    # 0.5, then 0.7 x 0.5 + 0.3 x 1 = 0.65, then 0.7 x 0.65 = 0.455
    assert frontier.state()["cells"]["a:1"]["rate"] == pytest.approx(0.455)


def test_a_level_opens_after_patience_and_not_before():
    frontier = practise(live(patience=3), {A1: [0.9]}, {A1: [0.9]})
    assert A2 not in frontier.open_cells()
    practise(frontier, {A1: [0.9]})
    assert A2 in frontier.open_cells() and A3 not in frontier.open_cells()
    assert frontier.events == ["raised a to 2"]


def test_a_dip_starts_the_patience_again():
    frontier = practise(live(patience=2), {A1: [0.9]}, {A1: [0.7]}, {A1: [0.9]})
    assert A2 not in frontier.open_cells()  # 0.7 is not above 0.7
    assert A2 in practise(frontier, {A1: [0.9]}).open_cells()


def test_batches_without_the_cell_do_not_count_as_patience():
    frontier = practise(live(patience=2), {A1: [0.9]}, {B1: [0.9]}, {A1: []}, {})
    assert A2 not in frontier.open_cells()


def test_the_last_level_stays_the_last():
    frontier = practise(live(patience=1), *[{A1: [0.9], A2: [0.9], A3: [0.9]}] * 10)
    assert frontier.open_cells() == [A1, A2, A3, B1] and len(frontier.events) == 2


def test_a_level_that_is_too_hard_closes_after_a_longer_patience():
    frontier = practise(live(patience=1, lower_patience=3), {A1: [0.9]})
    practise(frontier, {A2: [0.1]}, {A2: [0.1]}, {A2: [0.2]}, {A2: [0.1]}, {A2: [0.1]})
    assert A2 in frontier.open_cells()  # 0.2 is not below 0.2, and counting began again
    practise(frontier, {A2: [0.1]})
    assert A2 not in frontier.open_cells() and frontier.events == ["raised a to 2", "lowered a to 1"]


def test_a_level_that_closed_opens_again_only_after_patience_and_as_if_new():
    frontier = practise(live(patience=2, lower_patience=2), {A1: [0.9]}, {A1: [0.9]})
    practise(frontier, {A1: [0.9], A2: [0.0]}, {A1: [0.9], A2: [0.0]})
    assert A2 not in frontier.open_cells()
    practise(frontier, {A1: [0.9]})
    assert A2 not in frontier.open_cells()
    practise(frontier, {A1: [0.9]})
    assert frontier.weights()[A2] == pytest.approx(1.05)


def test_between_the_bounds_nothing_moves():
    frontier = practise(live(patience=1, lower_patience=1), *[{A1: [p / 100], B1: [0.5]} for p in range(21, 70)])
    assert frontier.events == [] and frontier.open_cells() == [A1, B1]


def test_the_starting_levels_never_close():
    frontier = practise(live(start_levels=2, lower_patience=1, dead_after=99), *[{A1: [0.0], A2: [0.0]}] * 30)
    assert frontier.open_cells() == [A1, A2, B1] and frontier.events == []


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from([A1, A2, A3, B1]), st.lists(st.sampled_from([0.0, 0.5, 1.0]), max_size=3)),
        max_size=40,
    )
)
def test_whatever_comes_there_is_always_something_to_draw(steps):
    frontier = live(patience=1, lower_patience=2, dead_after=2)
    for step in steps:
        practise(frontier, step)
        weights = frontier.weights()
        assert weights and all(0.05 <= w <= 1.05 + 1e-9 for w in weights.values())
        assert set(frontier.draw(3, Random(0))) <= set(weights)
        assert all(0 <= frontier.state()["top"][f] < len(SOURCE.levels(f)) for f in SOURCE.families)


@pytest.mark.parametrize(("score", "share"), [(0.0, "0%"), (1.0, "100%")])
def test_a_cell_without_signal_for_long_is_retired_and_reported(score, share):
    frontier = live(dead_after=3, lower_patience=99, raise_above=1.0)
    practise(frontier, {B1: [score]}, {B1: [score]})
    assert B1 in frontier.open_cells()
    practise(frontier, {B1: [score] * 2})
    assert B1 not in frontier.open_cells()
    assert frontier.events == [f"retired b:1 at {share}"]


def test_one_mixed_batch_keeps_a_cell_alive():
    frontier = practise(live(dead_after=3), *[{B1: [0.0]}, {B1: [0.0]}, {B1: [0.0, 1.0]}] * 5)
    assert B1 in frontier.open_cells()


def test_a_mastered_top_level_opens_the_next_and_retires():
    frontier = practise(live(dead_after=2, patience=99), *[{A1: [1.0]}] * 2)
    assert frontier.open_cells() == [A2, B1]
    assert frontier.events == ["retired a:1 at 100%", "raised a to 2"]


def test_where_every_cell_is_retired_all_of_them_are_drawn():
    source = Families(a=(1,))
    frontier = practise(live(source, dead_after=1), {A1: [0.0]})
    assert frontier.open_cells() == [A1]


def report(score, metric="sampled"):
    cell = Cell("a", 1, ("t",), (score,), (0.0,), (0.0,), (score,), (1.0,))
    return Report(0, "before", (cell,), {metric: Estimate(score, score, score, 1)})


def test_held_out_accuracy_stands_in_until_a_cell_is_practised():
    frontier = live()
    frontier.adapt(report(0.1))
    assert frontier.weights()[A1] == pytest.approx(0.41)  # 4 x 0.1 x 0.9 + 0.05
    practise(frontier, {A1: [0.5]})
    frontier.adapt(report(0.1))
    assert frontier.weights()[A1] == pytest.approx(1.05)


@pytest.mark.parametrize("metric", ["greedy", "tool_forced", "best_of_k"])
def test_accuracy_of_another_way_to_act_is_not_taken_for_that_of_practice(metric):
    frontier = live()
    frontier.adapt(report(0.1))
    frontier.adapt(report(0.6, metric))
    assert frontier.weights()[A1] == pytest.approx(0.41)


def steps_of(seed, num):
    rng = Random(seed)
    for _ in range(num):
        yield {c: [rng.choice([0.0, 1.0]) for _ in range(3)] for c in (A1, A2, A3, B1) if rng.random() < 0.7}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 25), st.integers(0, 10))
def test_a_stopped_frontier_goes_on_as_if_it_had_not_been_stopped(seed, before, after):
    plan = Frontier(patience=1, lower_patience=2, dead_after=3)
    whole = practise(plan.begin(SOURCE), *steps_of(seed, before))
    resumed = plan.begin(SOURCE)
    resumed.restore(json.loads(json.dumps(whole.state())))
    for step, scores in enumerate(steps_of(seed + 1, after)):
        draws = [f.draw(8, stream(seed, "cells", step)) for f in (whole, resumed)]
        assert draws[0] == draws[1]
        practise(whole, scores), practise(resumed, scores)
        assert json.dumps(whole.state()) == json.dumps(resumed.state())


@pytest.mark.parametrize("kept", [{}, {"top": {"a": 0}}, {"top": {"a": 3, "b": 0}}, {"top": {"a": 0, "c": 0}}])
def test_the_memory_of_another_source_is_refused(kept):
    with pytest.raises(BadInput, match="another source"):
        live().restore({"cells": {}, "events": [], **kept})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("start_levels", 0), ("raise_above", 0.1), ("raise_above", 1.5), ("lower_below", -0.1), ("patience", 0),
        ("lower_patience", 0), ("eps", 0.0), ("memory", 1.0), ("dead_after", 0),
    ],
)  # fmt: skip
def test_a_number_that_cannot_be_says_which(field, value):
    with pytest.raises(BadInput) as caught:
        Frontier(**{field: value})
    assert caught.value.where == f"curriculum.{field}" and caught.value.got == value


def test_a_uniform_mixture_draws_the_first_levels_alike_and_learns_nothing():
    mixture = Uniform(2).begin(SOURCE)
    practise(mixture, {A1: [1.0]}, {A1: [1.0]})
    mixture.adapt(report(0.9))
    assert mixture.open_cells() == [A1, A2, B1] and mixture.state() == {}
    drawn = mixture.draw(9000, Random(0))
    assert [drawn.count(c) / 9000 for c in (A1, A2, B1)] == pytest.approx([1 / 3] * 3, abs=0.03)


def test_a_uniform_mixture_of_some_families():
    assert Uniform(2, ("a",)).begin(SOURCE).open_cells() == [A1, A2]
    with pytest.raises(BadInput, match="no such family"):
        Uniform(2, ("c",)).begin(SOURCE)


@pytest.mark.parametrize("plan", [Frontier(start_levels=2), Uniform(3), Uniform(1, ("a",))])
def test_a_curriculum_survives_json(plan):
    assert from_json(to_json(plan)) == plan
