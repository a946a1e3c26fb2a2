import math
from dataclasses import dataclass, replace

import pytest

from evolvent.envs import Toolbox, calc
from evolvent.evals.measure import (
    VIEWS_AFTER,
    Suite,
    View,
    count,
    find_weaknesses,
    hold_out,
    join,
    measure,
    sample_evenly,
    summarize,
    value_of,
    views_before,
)
from evolvent.policies import Oracle
from evolvent.records import (
    Episode,
    Fault,
    Message,
    Origin,
    Outcome,
    Private,
    Reference,
    Sampling,
    Score,
    Task,
    ToolCall,
    Trace,
    Turn,
    said,
)
from evolvent.rewards import by_task
from evolvent.rollouts.play import Stage
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import tool_loop
from evolvent.tasks import Procedural, source


def task(name, family="f", level=1):
    return Task(name, family, level, (said("user", name),), Private("1"), Reference("a:b"), Origin("test"))


def episode(name, score, *, sample=0, tool=False, tokens=1, level=1, outcome=Outcome.OK, seats=1):
    blocks = (ToolCall("calc", {}),) if tool else ()
    turn = Turn("t", None, "agent", 0, Message("assistant", blocks), (7,) * tokens, (True,) * tokens)
    fault = None if outcome.carries_reward else Fault("x", "y")
    judged = None if score is None else Score(score)
    trace = Trace(name, sample, "agent", "agent", (turn,), outcome, fault=fault, score=judged)
    return Episode(f"{name}/{sample}", task(name, level=level), sample, (trace,) * seats)


def test_a_cell_holds_means_by_task():
    # task a: right with the tool, wrong without; task b: wrong twice, with the tool; task c: broke, so it is left out
    cell = count("f", 1, [
        episode("a", 1.0, tool=True, tokens=4),
        episode("a", 0.0, sample=1, tokens=2),
        episode("b", 0.0, tool=True, tokens=1),
        episode("b", 0.5, sample=1, tool=True, tokens=1),  # partial credit is not right
        episode("c", None, outcome=Outcome.INFRASTRUCTURE_FAILED),
    ])  # fmt: skip
    assert cell.task_ids == ("a", "b")
    assert cell.scores == (0.5, 0.0)
    assert cell.used_tool == (0.5, 1.0)
    assert cell.right_with_tool == (0.5, 0.0)
    assert cell.best == (1.0, 0.0)
    assert cell.num_tokens == (3.0, 1.0)
    assert cell.num_faults == 1


def test_an_episode_is_as_right_as_its_traces():
    assert value_of(episode("a", 1.0, seats=2)) == 1.0
    assert value_of(episode("a", 0.99)) == 0.0
    assert value_of(episode("a", None)) == 0.0


def test_a_cell_where_everything_broke_is_empty_and_counted():
    cell = count("f", 1, [episode("a", None, outcome=Outcome.VERIFIER_FAILED)])
    assert (cell.task_ids, cell.scores, cell.num_faults) == ((), (), 1)
    numbers = summarize([cell], View("before"))
    assert math.isnan(numbers["sampled"].value)
    assert find_weaknesses([cell], []) == ()


def test_the_summary_weighs_every_task_alike():
    # cell 1: three tasks, two right; cell 2: one task, wrong: 2 of 4 and not the mean of 2/3 and 0
    first = count("f", 1, [episode(n, s, tool=s > 0) for n, s in (("a", 1.0), ("b", 1.0), ("c", 0.0))])
    second = count("g", 1, [episode("d", 0.0, tool=True)])
    numbers = summarize([first, second], View("before"))
    assert numbers["sampled"].value == 0.5
    assert numbers["sampled"].num == 4
    assert numbers["tool_use"].value == 0.75
    assert numbers["accuracy_given_tool"].value == pytest.approx(2 / 3)
    assert join([first, second]).task_ids == ("a", "b", "c", "d")
    assert join([]).task_ids == ()


def test_best_of_several_counts_the_best():
    cell = count("f", 1, [episode("a", s, sample=i) for i, s in enumerate((0.0, 0.0, 1.0))])
    assert summarize([cell], View("best", "best_of_k", num_samples=3))["best_of_k"].value == 1.0
    assert summarize([cell], View("x"))["sampled"].value == pytest.approx(1 / 3)


def test_weaknesses_are_the_worst_cells_with_wrong_episodes_as_examples():
    episodes = [episode(f"{level}{i}", float(i >= level), level=level) for level in (1, 2, 3, 4) for i in range(4)]
    cells = [count("f", level, [e for e in episodes if e.task.level == level]) for level in (1, 2, 3, 4)]
    found = find_weaknesses(cells, episodes)
    assert [(w.level, w.accuracy.value) for w in found] == [(4, 0.0), (3, 0.25), (2, 0.5)]
    assert found[0].episode_ids == ("40/0", "41/0", "42/0")
    assert found[2].episode_ids == ("20/0", "21/0")


@dataclass(frozen=True)
class Small:
    """Two levels that share problems, and repeat themselves."""

    families: tuple = ("f",)

    def levels(self, family):
        return (1, 2, 3)

    def num_tasks(self, family, level, split):
        return 2 if level == 3 else None

    def task(self, family, level, index, split="train"):
        assert split == "test"
        word = f"{index % 5 + 3 * (level - 1)}"
        return replace(task(f"{level}-{index}", level=level), prompt=(said("user", word),))


def test_no_question_is_held_out_twice():
    held = hold_out(Suite(num_tasks=4, num_tasks_above=3), Small())
    words = {cell: [t.question for t in tasks] for cell, tasks in held.items()}
    assert words == {("f", 1): ["0", "1", "2", "3"], ("f", 2): ["4", "5", "6"], ("f", 3): ["7"]}
    # level 2 draws 3 4 5 6 7 and skips what level 1 has; level 3 holds two tasks, 6 and 7


def test_held_out_tasks_are_of_the_test_split_and_the_sizes_that_were_asked_for():
    suite = Suite(num_tasks=6, num_tasks_above=3, num_levels=2)
    held = hold_out(suite, Procedural(("chain", "arithmetic")))
    assert {cell: len(tasks) for cell, tasks in held.items()} == {
        ("chain", 1): 6, ("chain", 2): 3, ("arithmetic", 1): 6, ("arithmetic", 2): 3,
    }  # fmt: skip
    assert {t.split for tasks in held.values() for t in tasks} == {"test"}


def test_an_oracle_is_measured_as_right_in_every_view():
    chain = source("chain", 0)
    held = hold_out(Suite(num_tasks=4, num_tasks_above=2, num_levels=2), chain)
    oracle = Oracle.of([t for tasks in held.values() for t in tasks])
    stage = Stage(
        tool_loop, Toolbox((calc,)), {"agent": oracle}, {"agent": "agent"}, Sampling(99), Budgets(99, 999, 99)
    )
    for view in (*views_before(3), *VIEWS_AFTER):
        report, episodes = measure(held, stage, by_task, step=5, view=view)
        assert (report.step, report.name) == (5, view.name)
        assert [(c.family, c.level) for c in report.cells] == (
            [("chain", 1), ("chain", 2)][: 1 if view.first_only else 2]
        )
        assert report.metrics[view.metric].value == 1.0
        assert report.metrics[view.metric].num == 4, "the summary is of the starting level"
        assert report.metrics["tool_use"].value == 1.0
        assert len(episodes) == view.num_samples * (4 if view.first_only else 6)
        assert [c.task_ids for c in report.cells] == [
            tuple(t.task_id for t in held[c.family, c.level]) for c in report.cells
        ]


def test_kept_episodes_are_spread_over_all():
    episodes = list(range(100))
    assert sample_evenly(episodes, 4) == [0, 25, 50, 75]
    assert sample_evenly(episodes[:3], 4) == [0, 1, 2]
    assert len(sample_evenly(episodes, 64)) <= 64
    assert max(sample_evenly(episodes, 64)) > 60
    assert sample_evenly([], 4) == []
