"""The arena: rounds of fresh tasks in worlds that training never enters, played and diagnosed between steps."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from evolvent.errors import BadInput, GateFailed
from evolvent.evals import metrics
from evolvent.evals.diagnosis import Diagnose, Diagnosis, by_statistics, world_name
from evolvent.evals.measure import count, find_weaknesses, join
from evolvent.records import Episode, Report, Task
from evolvent.rewards import Judge, judge_episodes
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.seeds import stream
from evolvent.tasks.source import Source

NUM_TRIES = 40  # redraws of a task that an earlier round, or the held-out set, has already
INDEX_SPACE = 1 << 20


@dataclass(frozen=True, slots=True)
class Arena:
    """A round after every `round_steps` steps of practice, with `num_worlds` worlds of each class drawn anew.

    Each world gives `tasks_per_world` tasks that no earlier round had. `split` is where the source keeps worlds that
    are neither trained nor measured on. The `diagnose` part says what is weak, and the curriculum is told.
    """

    round_steps: int
    num_worlds: int = 5  # of each class, Agent-World, arXiv:2604.18292
    tasks_per_world: int = 8
    num_levels: int = 1
    split: str = "arena"
    diagnose: Diagnose = by_statistics

    def __post_init__(self) -> None:
        for name in ("round_steps", "num_worlds", "tasks_per_world", "num_levels"):
            if getattr(self, name) < 1:
                raise BadInput("not an arena", where=f"arena.{name}", got=getattr(self, name), wanted=">= 1")

    def num_rounds(self, num_steps: int) -> int:
        """How many rounds there are in so many steps of practice; practice goes on behind each of them."""
        return max(0, num_steps - 1) // self.round_steps


class Rounds:
    """The tasks of every round, fixed before the first step, so that training can be kept out of their worlds.

    Without an arena there are none.
    """

    def __init__(
        self, arena: Arena | None, source: Source, num_steps: int, *, seed: int, held_out: Collection[str] = ()
    ) -> None:
        self.arena = arena
        seen, num = set(held_out), arena.num_rounds(num_steps) if arena else 0
        self.tasks = [list(_sample(arena, source, seed, number, seen)) for number in range(1, num + 1) if arena]
        self.problems = {task.problem for tasks in self.tasks for task in tasks}
        self.worlds = {world_name(task) for tasks in self.tasks for task in tasks}

    def due(self, num_steps: int) -> int:
        """The number of the round that comes after so many steps of practice, or 0."""
        if self.arena is None or num_steps < 1 or num_steps % self.arena.round_steps:
            return 0
        return num_steps // self.arena.round_steps

    def refuse(self, drawn: Collection[Task]) -> None:
        """Stop where training enters a world of the arena."""
        shared = [world_name(task) for task in drawn if world_name(task) in self.worlds]
        if shared:
            raise GateFailed(
                "a training task lies in a world of the arena",
                got=shared[0],
                wanted="worlds that training never enters",
                cure="the splits of the source share worlds; divide them by their seeds",
            )

    def play(self, number: int, stage: Stage, judge: Judge, step: int) -> tuple[Report, Diagnosis, list[Episode]]:
        """One round: every task attempted once, judged and diagnosed."""
        assert self.arena is not None
        attempts = [Attempt(task, 0) for task in self.tasks[number - 1]]
        episodes = judge_episodes(judge, play(attempts, stage))
        found = self.arena.diagnose(episodes, number=number, step=step, world=stage.world)
        return summarize(episodes, number, step), found, episodes


def summarize(episodes: Sequence[Episode], number: int, step: int) -> Report:
    """A round as a report; its success is called `arena`, since its tasks are no round's but its own."""
    by_cell: dict[tuple[str, int], list[Episode]] = {}
    for episode in episodes:
        by_cell.setdefault((episode.task.family, episode.task.level), []).append(episode)
    cells = tuple(count(family, level, own) for (family, level), own in by_cell.items())
    success = metrics.share(join(cells).scores)
    return Report(step, f"arena-{number}", cells, {"arena": success}, find_weaknesses(cells, episodes))


def _sample(arena: Arena, source: Source, seed: int, number: int, seen: set[str]) -> Iterator[Task]:
    """The tasks of a round; their problems are added to those that were `seen`."""
    for family in source.families:
        for level in source.levels(family)[: arena.num_levels]:
            yield from _sample_cell(arena, source, (family, level), (seed, number), seen)


def _sample_cell(
    arena: Arena, source: Source, cell: tuple[str, int], of: tuple[int, int], seen: set[str]
) -> Iterator[Task]:
    seed, number = of
    limit = source.num_tasks(*cell, arena.split)
    # task i of a source that knows its worlds is in world i modulo their number; elsewhere a task is its own world
    num_worlds = _num_worlds(source, arena.split, limit)
    in_each = arena.tasks_per_world if hasattr(source, "num_worlds_of") else 1
    wanted = arena.num_worlds * arena.tasks_per_world // in_each
    worlds = stream(seed, "arena worlds", number, *cell).sample(range(num_worlds), min(wanted, num_worlds))
    num_in_world = (limit or INDEX_SPACE * num_worlds) // num_worlds
    for world in worlds:
        rng = stream(seed, "arena tasks", number, *cell, world)
        for _ in range(in_each):
            for _ in range(NUM_TRIES):
                task = source.task(*cell, world + num_worlds * rng.randrange(num_in_world), arena.split)
                if task.problem not in seen:
                    seen.add(task.problem)
                    yield task
                    break


def _num_worlds(source: Any, split: str, limit: int | None) -> int:
    if hasattr(source, "num_worlds_of"):
        return int(source.num_worlds_of(split))
    return limit or INDEX_SPACE
