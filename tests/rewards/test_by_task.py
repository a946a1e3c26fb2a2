from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput, VerifierError
from evolvent.records import Episode, Fault, Origin, Outcome, Private, Reference, Score, Task, Trace, said
from evolvent.rewards import Checked, by_task, exact, judge_episodes, lift, numeric


def episode(answer: str, number: int = 0, wanted: str = "4", judge: str = "exact", **arguments: object) -> Episode:
    named = Reference(f"evolvent.rewards.verify:{judge}", arguments)
    task = Task(f"t{number}", "f", 1, (said("user", "?"),), Private(wanted), named, Origin("hand"))
    traces = (Trace(task.task_id, 0, "a", "p", ()), Trace(task.task_id, 0, "b", "p", ()))
    return Episode(f"e{number}", task, 0, traces, answer)


def failed(outcome: Outcome) -> Episode:
    one = episode("4")
    return replace(one, traces=(replace(one.traces[0], outcome=outcome, fault=Fault("X", "y")), one.traces[1]))


def broken(task: Task, answer: str) -> Score:
    if answer == "break":
        raise ZeroDivisionError("planted")
    return Score(1.0)


def infinite(task: Task, answer: str) -> Score:
    return Score(math.inf if answer == "break" else 1.0)


def majority(episodes: Sequence[Episode]) -> list[Score]:
    """A judge that compares: it must see the episodes of one task together."""
    if any(e.answer == "break" for e in episodes):
        raise VerifierError("no majority")
    answers = [e.answer for e in episodes]
    return [Score(float(answers.count(e.answer) * 2 > len(answers))) for e in episodes]


def short(episodes: Sequence[Episode]) -> list[Score]:
    return []


def values(episodes: Sequence[Episode]) -> list[float | None]:
    return [e.traces[0].score.value if e.traces[0].score else None for e in episodes]


def test_each_task_is_judged_by_its_own_check_and_arguments() -> None:
    played = [episode("4"), episode("5"), episode("4.4", judge="numeric", tolerance=0.5), episode("4.4")]
    assert [score.value for score in by_task(played)] == [1.0, 0.0, 1.0, 0.0]


def test_every_trace_of_an_episode_carries_its_score() -> None:
    (judged,) = judge_episodes(by_task, [episode("4")])
    assert [t.score for t in judged.traces] == [by_task([judged])[0]] * 2


def test_an_attempt_without_reward_is_not_judged() -> None:
    for outcome in (Outcome.INFRASTRUCTURE_FAILED, Outcome.VERIFIER_FAILED):
        stopped = failed(outcome)
        assert by_task([stopped])[0] == Score(0.0, why=f"not judged: {outcome}")
        assert judge_episodes(by_task, [stopped]) == [stopped]
    assert values(judge_episodes(by_task, [failed(Outcome.AGENT_FAILED)])) == [1.0]


@pytest.mark.parametrize("check", [broken, infinite])
def test_a_check_that_breaks_costs_its_own_episode_only(check: object) -> None:
    played = [episode("a", 1), episode("break", 1), episode("b", 1)]
    judged = judge_episodes(Checked(check), played)  # type: ignore[arg-type]
    assert values(judged) == [1.0, None, 1.0]
    assert [e.outcome for e in judged] == [Outcome.OK, Outcome.VERIFIER_FAILED, Outcome.OK]
    fault = judged[1].traces[0].fault
    assert fault is not None
    assert fault.kind == "VerifierError"


def test_a_task_without_its_private_part_is_a_fault_and_not_a_zero() -> None:
    one = episode("4")
    (judged,) = judge_episodes(by_task, [replace(one, task=replace(one.task, private=None))])
    assert judged.outcome is Outcome.VERIFIER_FAILED


def test_a_judge_that_compares_sees_one_task_at_a_time_and_breaks_for_one_task_only() -> None:
    played = [
        episode("4", 1),
        episode("5", 2),
        episode("4", 1),
        episode("9", 1),
        episode("5", 2),
        episode("break", 3),
        episode("4", 3),
    ]
    assert values(judge_episodes(majority, played)) == [1.0, 1.0, 1.0, 0.0, 1.0, None, None]


def test_a_check_is_lifted_and_a_judge_stays_as_it_is() -> None:
    assert lift(exact) == Checked(exact)
    assert lift(numeric) == Checked(numeric)
    assert lift(majority) is majority
    assert lift(by_task) is by_task
    with pytest.raises(BadInput, match="reward slot"):
        lift(lambda: 1)  # type: ignore[arg-type, misc]


def test_a_check_with_numbers_is_lifted_with_them() -> None:
    loose = Checked(numeric, {"tolerance": 0.5})
    assert [score.value for score in loose([episode("4.4"), episode("4.6")])] == [1.0, 0.0]


def test_judges_are_data() -> None:
    for judge in (by_task, Checked(exact), Checked(numeric, {"tolerance": 0.5})):
        assert from_json(to_json(judge)) == judge


def test_a_judge_with_too_few_scores_is_the_user_s_mistake() -> None:
    with pytest.raises(BadInput, match="one score per episode"):
        judge_episodes(short, [episode("4")])
