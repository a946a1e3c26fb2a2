from __future__ import annotations

from dataclasses import replace

from evolvent.records import Episode, Fault, Origin, Outcome, Private, Reference, Score, Task, Trace, said
from evolvent.rewards import Change, Checked, by_task, judge_episodes, numeric, rescore


def episode(number: int, answer: str) -> Episode:
    judge = Reference("evolvent.rewards:exact")
    task = Task(f"t{number}", "f", 1, (said("user", "?"),), Private("4"), judge, Origin("hand"))
    return Episode(f"e{number}", task, 0, (Trace(task.task_id, 0, "agent", "p", ()),), answer)


def broken(task: Task, answer: str) -> Score:
    raise ZeroDivisionError("planted")


stored = judge_episodes(by_task, [episode(0, "4"), episode(1, "4.0"), episode(2, "5")])


def test_the_same_judge_changes_nothing() -> None:
    assert rescore(by_task, stored) == (stored, [])


def test_a_newer_judge_shows_what_it_changed_and_why() -> None:
    rescored, changes = rescore(Checked(numeric), stored)
    assert changes == [Change("e1", "t1", "agent", 0.0, 1.0, "read 4 from the end of '4.0': right")]
    assert [e.traces[0].score.value for e in rescored if e.traces[0].score] == [1.0, 1.0, 0.0]


def test_a_judge_that_breaks_is_shown_and_can_be_repaired() -> None:
    worse, changes = rescore(Checked(broken), stored)
    assert [(change.old, change.new) for change in changes] == [(1.0, None), (0.0, None), (0.0, None)]
    assert "a check broke" in changes[0].why
    assert rescore(by_task, worse)[0] == stored


def test_what_the_infrastructure_broke_stays_as_it_is() -> None:
    one = episode(0, "4")
    lost = replace(one, traces=(replace(one.traces[0], outcome=Outcome.INFRASTRUCTURE_FAILED, fault=Fault("X", "y")),))
    assert rescore(by_task, [lost]) == ([lost], [])
