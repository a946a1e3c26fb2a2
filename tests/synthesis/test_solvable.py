import itertools
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput, InfrastructureError
from evolvent.evals.contrast import contrast
from evolvent.policies.scripted import Fixed
from evolvent.records import Episode, Origin, Private, Reference, Score, Task, Trace, said
from evolvent.synthesis.gate_effect import (
    AGREEMENT,
    LABELS,
    Clumsy,
    answers_of,
    draw_tasks,
    let_pass,
    observe,
    plant,
    solutions_of,
    stage_of,
)
from evolvent.synthesis.solvable import (
    APART,
    RARELY,
    UNMEASURED,
    Gate,
    Tally,
    Try,
    form_of,
    is_solved,
    keep_agreed,
    keep_solvable,
    tally,
)


def task(name="t", answer="4"):
    judge = Reference("evolvent.rewards.verify:exact")
    return Task(name, "f", 1, (said("user", "?"),), Private(answer), judge, Origin("hand"))


def tallied(*solved, forms=None):
    forms = forms or ["x"] * len(solved)
    return Tally("t", tuple(Try(i, bool(s), f) for i, (s, f) in enumerate(zip(solved, forms, strict=True))))


@pytest.mark.parametrize(("solved", "kept"), [(0.1, 0.0815), (0.2, 0.2627), (0.5, 0.8125), (0.0, 0.0), (1.0, 1.0)])
def test_the_gate_keeps_a_task_with_the_published_probability(solved, kept):
    assert Gate().keep_probability(solved) == pytest.approx(kept, abs=5e-5)
    assert Gate().keep_probability(solved) == pytest.approx(1 - (1 - solved) ** 5 - 5 * solved * (1 - solved) ** 4)


@given(st.floats(0, 1), st.integers(1, 6), st.integers(1, 6))
def test_keep_probability_is_that_of_all_outcomes(p, num, least):
    if least > num:
        return
    outcomes = itertools.product([0, 1], repeat=num)
    wanted = sum(p ** sum(o) * (1 - p) ** (num - sum(o)) for o in outcomes if sum(o) >= least)
    assert Gate(num, least).keep_probability(p) == pytest.approx(wanted, abs=1e-9)


def test_two_of_five_keep_a_task_and_one_does_not():
    for solved, is_kept in ((2, True), (1, False), (5, True), (0, False)):
        one = tallied(*[1] * solved, *[0] * (5 - solved))
        found = keep_solvable([task()], {"t": one})
        assert bool(found.kept) is is_kept
        assert found.dropped == ({} if is_kept else {RARELY: ("t",)})


def test_a_task_that_was_not_tried_often_enough_is_not_measured_and_not_called_unsolvable():
    assert keep_solvable([task()], {}).dropped == {UNMEASURED: ("t",)}
    assert keep_solvable([task()], {"t": tallied(0, 1)}).dropped == {UNMEASURED: ("t",)}
    assert keep_solvable([task()], {"t": tallied(1, 1)}).kept, "two are enough whatever the others will be"


def test_agreement_counts_equal_ends_and_no_empty_ones():
    apart, twice = tallied(0, 0, 0, 0, 0, forms=list("abcde")), tallied(0, 0, 0, 0, 0, forms=list("abcda"))
    assert keep_agreed([task()], {"t": apart}).dropped == {APART: ("t",)}
    assert keep_agreed([task()], {"t": twice}).kept
    assert keep_agreed([task()], {"t": tallied(0, 0, 0, 0, 0, forms=[""] * 5)}).dropped == {APART: ("t",)}


def test_ends_are_equal_however_an_answer_is_written_and_only_over_the_same_state():
    def end(answer, state="s"):
        return form_of(Episode("e", task(), 0, (), answer, {"state": state}))

    assert end(' {"b": 1,  "a": "Oslo"}') == end('so: {"a": "oslo", "b": 1}') != end('{"a": "oslo", "b": 2}')
    assert end("Oslo.") == end("oslo") != end("oslo", "other") and end("  ") == ""


def test_an_episode_is_solved_where_its_judge_says_passed():
    def one(**score):
        return Episode("e", task(), 0, (Trace("t", 0, "a", "p", (), score=Score(**score)),))

    assert is_solved(one(value=1.0)) and not is_solved(one(value=0.95))
    assert is_solved(one(value=0.95, components={"passed": 1.0})), "a rubric passes at 90 points"
    assert not is_solved(one(value=1.0, components={"passed": 0.0}))
    assert not is_solved(replace(one(value=1.0), traces=(Trace("t", 0, "a", "p", ()),)))


TASKS = draw_tasks(3, 16)


def clumsy(error_frac):
    return Clumsy(solutions_of(TASKS), answers_of(TASKS), error_frac)


def test_a_count_that_goes_on_ends_as_one_that_was_never_stopped():
    whole = list(tally(TASKS, stage_of(clumsy(0.4), 1)))
    begun = {one.task_id: one for one in tally(TASKS[:7], stage_of(clumsy(0.4), 1), gate=Gate(2, 1), num_at_once=3)}
    again = {name: from_json(to_json(one)) for name, one in begun.items()}
    assert list(tally(TASKS, stage_of(clumsy(0.4), 1), known=again, num_at_once=5)) == whole
    assert all([t.sample for t in one.tries] == [0, 1, 2, 3, 4] for one in whole)
    assert 0 < sum(one.num_solved for one in whole) < 5 * len(whole)


def test_a_solver_that_never_slips_solves_all_and_one_that_says_nothing_none():
    assert {one.num_solved for one in tally(TASKS, stage_of(clumsy(0.0), 1))} == {5}
    assert {one.num_solved for one in tally(TASKS, stage_of(Fixed("no"), 1))} == {0}


class Flaky(Clumsy):
    """Breaks for one sample in five as an endpoint does."""

    async def sample(self, prompts, how):
        if any(p.stream[1] == 4 for p in prompts):
            raise InfrastructureError("planted")
        return await super().sample(prompts, how)


def test_what_something_outside_broke_is_no_failed_try():
    broken = Flaky(solutions_of(TASKS), answers_of(TASKS), 0.0)
    known = {one.task_id: one for one in tally(TASKS[:3], stage_of(broken, 1))}
    assert [len(one.tries) for one in known.values()] == [4, 4, 4]
    assert [len(one.tries) for one in tally(TASKS[:3], stage_of(clumsy(0.0), 1), known=known)] == [5, 5, 5]


def test_a_third_of_the_tasks_is_planted_and_the_oracle_fails_just_these():
    planted, is_corrupted = plant(TASKS, 5)
    assert sum(is_corrupted.values()) == round(0.3 * len(TASKS))
    solved = {one.task_id: one.num_solved == 5 for one in tally(planted, stage_of(clumsy(0.0), 5))}
    assert solved == {name: not is_bad for name, is_bad in is_corrupted.items()}
    assert plant(TASKS, 5) == (planted, is_corrupted) != plant(TASKS, 6)


def test_the_gate_drops_what_is_corrupted_where_agreement_alone_does_not():
    tasks = draw_tasks(0, 96)
    passed = let_pass(tasks, 0, Clumsy(solutions_of(tasks), answers_of(tasks), 0.15))
    assert passed.corrupted_frac(LABELS) < 0.1 < passed.corrupted_frac(AGREEMENT)
    assert passed.kept_frac(LABELS, corrupted=False) > 0.8


@pytest.mark.slow
def test_the_gate_lowers_the_share_of_corrupted_tasks_on_three_seeds():
    found = [contrast(claim) for claim in zip(*(observe(seed) for seed in range(3)), strict=True)]
    assert all(one.ok for one in found), [(c.claim, c.difference, c.low, c.high) for c in found]


def test_impossible_gates_are_refused():
    for num, least in ((5, 6), (5, 0), (0, 0)):
        with pytest.raises(BadInput, match="gate"):
            Gate(num, least)
    assert json.loads(to_json(Gate()))["min_solved"] == 2
