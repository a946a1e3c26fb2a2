"""Measures a policy on held-out tasks: one Cell per (family, level), and numbers with intervals over them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evolvent.evals import metrics
from evolvent.records import Cell, Episode, Estimate, Report, Task, Weakness
from evolvent.rewards.by_task import judge_episodes
from evolvent.rewards.judge import Judge
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.tasks.source import Source

NUM_EXAMPLES = 3  # episodes shown for a weakness


@dataclass(frozen=True, slots=True)
class Suite:
    """What is measured: `num_tasks` held-out tasks of each family's first level, `num_tasks_above` of each later one.

    The full suite is measured before and after; `num_tasks_during` are measured every `eval_every` steps. Before
    practice the best of `best_of` attempts is measured too: a ceiling for what sharpening alone could reach.
    """

    num_tasks: int = 512
    num_tasks_above: int = 256
    num_tasks_during: int = 64
    num_levels: int = 6
    best_of: int = 8

    def cells(self, source: Source) -> dict[tuple[str, int], int]:
        """How many tasks of each (family, level) are held out."""
        sizes: dict[tuple[str, int], int] = {}
        for family in source.families:
            for rank, level in enumerate(source.levels(family)[: self.num_levels]):
                sizes[family, level] = self.num_tasks if rank == 0 else self.num_tasks_above
        return sizes


@dataclass(frozen=True, slots=True)
class View:
    """One way to sample while measuring; `metric` is what its accuracy is called, `given_call` forces the first token.

    Only the first level of each family is measured where `first_only`.
    """

    name: str
    metric: str = "sampled"
    temperature: float = 1.0
    num_samples: int = 1
    given_call: bool = False
    first_only: bool = False


def views_before(best_of: int) -> tuple[View, ...]:
    """Before practice: as sampled, greedy, with a tool call forced, and the best of a group."""
    return (
        View("before"),
        View("greedy-before", "greedy", temperature=0.0, first_only=True),
        View("tool-forced", "tool_forced", given_call=True),
        View("best-of-k", "best_of_k", num_samples=best_of, first_only=True),
    )


VIEWS_AFTER = (View("after"), View("greedy-after", "greedy", temperature=0.0, first_only=True))

HeldOut = Mapping[tuple[str, int], Sequence[Task]]


def hold_out(suite: Suite, source: Source) -> dict[tuple[str, int], list[Task]]:
    """The held-out tasks themselves: no question twice in all; a cell that runs dry gives what it has."""
    seen: set[str] = set()
    return {cell: _distinct(source, *cell, num, seen) for cell, num in suite.cells(source).items()}


def _distinct(source: Source, family: str, level: int, num: int, seen: set[str]) -> list[Task]:
    limit = source.num_tasks(family, level, "test")
    found: list[Task] = []
    for index in range(min(limit, 4 * num) if limit is not None else 4 * num):
        if len(found) == num:
            break
        task = source.task(family, level, index, "test")
        if task.problem not in seen:
            seen.add(task.problem)
            found.append(task)
    return found


def measure(held_out: HeldOut, stage: Stage, judge: Judge, *, step: int, view: View) -> tuple[Report, list[Episode]]:
    """Play the view's attempts at every held-out task and count; the episodes come back for the record."""
    cells, kept = [], []
    first = dict(reversed(list(held_out)))
    for (family, level), tasks in held_out.items():
        if view.first_only and first[family] != level:
            continue
        attempts = [Attempt(task, sample) for task in tasks for sample in range(view.num_samples)]
        episodes = judge_episodes(judge, play(attempts, stage))
        cells.append(count(family, level, episodes))
        kept += episodes
    measured = tuple(cells)
    easiest = [c for c in measured if first[c.family] == c.level]
    weakest = find_weaknesses(measured, kept)
    return Report(step, view.name, measured, summarize(easiest, view), weaknesses=weakest), kept


def count(family: str, level: int, episodes: Sequence[Episode]) -> Cell:
    """Episodes of one cell as per-task means; attempts that carry no reward are left out and counted."""
    by_task: dict[str, list[Episode]] = {}
    faults = 0
    for episode in episodes:
        if episode.outcome.carries_reward:
            by_task.setdefault(episode.task.task_id, []).append(episode)
        else:
            faults += 1
    groups = list(by_task.values())
    return Cell(
        family=family,
        level=level,
        task_ids=tuple(by_task),
        scores=tuple(statistics.fmean(value_of(e) for e in g) for g in groups),
        used_tool=tuple(statistics.fmean(e.used_tool for e in g) for g in groups),
        right_with_tool=tuple(statistics.fmean(value_of(e) * e.used_tool for e in g) for g in groups),
        best=tuple(max(value_of(e) for e in g) for g in groups),
        num_tokens=tuple(statistics.fmean(sum(sum(t.mask) for t in e.traces) for e in g) for g in groups),
        num_faults=faults,
    )


def value_of(episode: Episode) -> float:
    """The share of an episode's traces that are right: a score of 1; partial credit does not count as right."""
    scores = [t.score.value for t in episode.traces if t.score is not None]
    return statistics.fmean(s >= 1.0 for s in scores) if scores else 0.0


def summarize(cells: Sequence[Cell], view: View) -> dict[str, Estimate]:
    """The view's accuracy, tool use, accuracy given tool use, and length over all cells together, by task."""
    whole = join(cells)
    right = whole.best if view.num_samples > 1 else whole.scores
    return {
        view.metric: metrics.share(right),
        "tool_use": metrics.share(whole.used_tool),
        "accuracy_given_tool": metrics.ratio(whole.right_with_tool, whole.used_tool),
        "num_tokens": metrics.mean(whole.num_tokens),
    }


def join(cells: Sequence[Cell]) -> Cell:
    """Several cells as one."""
    merged = replace(cells[0]) if cells else Cell("", 0, (), (), (), (), (), ())
    for cell in cells[1:]:
        merged = replace(
            merged,
            task_ids=merged.task_ids + cell.task_ids,
            scores=merged.scores + cell.scores,
            used_tool=merged.used_tool + cell.used_tool,
            right_with_tool=merged.right_with_tool + cell.right_with_tool,
            best=merged.best + cell.best,
            num_tokens=merged.num_tokens + cell.num_tokens,
            num_faults=merged.num_faults + cell.num_faults,
        )
    return merged


def find_weaknesses(cells: Sequence[Cell], episodes: Sequence[Episode], num: int = 3) -> tuple[Weakness, ...]:
    """The cells with the lowest accuracy, each with wrong episodes as examples."""
    ordered = sorted((c for c in cells if c.scores), key=lambda c: statistics.fmean(c.scores))
    return tuple(
        Weakness(
            cell.family,
            cell.level,
            metrics.share(cell.scores),
            tuple(
                e.episode_id
                for e in episodes
                if (e.task.family, e.task.level) == (cell.family, cell.level) and value_of(e) == 0
            )[:NUM_EXAMPLES],
        )
        for cell in ordered[:num]
    )


def sample_evenly(episodes: Sequence[Episode], num: int) -> list[Episode]:
    """At most `num` episodes, evenly spread over the order in which they were measured."""
    stride = max(1, len(episodes) // num)
    return list(episodes[::stride][:num])
