"""Turns seed tasks into harder and rarer ones, round by round; what fails is dropped, and its parent tried again."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from evolvent.errors import BadInput
from evolvent.records import Origin, Task
from evolvent.seeds import stream
from evolvent.synthesis.screening import remember

__all__ = ["Evolution", "Operator", "Pool", "Rule", "evolve", "lineage"]

Operator = Callable[[Task, random.Random], Task]
"""Makes another task of one; its id and origin are written by whoever calls."""

Rule = Callable[[Task, Task], str]
"""Says of (child, parent) why the evolution failed, or nothing."""


@dataclass(frozen=True, slots=True)
class Evolution:
    """What each seed has become after each round (`rounds[0]` are the seeds), and ids of dropped children by reason."""

    rounds: tuple[tuple[Task, ...], ...]
    dropped: Mapping[str, tuple[str, ...]]

    @property
    def pool(self) -> tuple[Task, ...]:
        """Every task that survived, each once, seeds first."""
        return tuple({task.task_id: task for leaves in self.rounds for task in leaves}.values())


@dataclass
class Pool:
    """The leaves of all lineages as they grow; a failed evolution leaves the parent where it is."""

    seeds: Sequence[Task]
    rules: Sequence[Rule]
    rounds: list[tuple[Task, ...]] = field(default_factory=list)
    dropped: dict[str, list[str]] = field(default_factory=dict)
    seen: dict[tuple[str, ...], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for task in self.seeds:
            remember(task, self.seen, "duplicate")
        self.rounds.append(tuple(self.seeds))

    @property
    def leaves(self) -> tuple[Task, ...]:
        """What each seed has become so far."""
        return self.rounds[-1]

    def settle(self, children: Mapping[int, tuple[str, Task]], failed: Collection[int] = ()) -> list[int]:
        """Put a round's children (operator, task) behind their parents; returns the places whose evolution failed.

        `failed` are places of the round so far that are settled again, after another try.
        """
        if not failed:
            self.rounds.append(self.leaves)
        leaves, again = list(self.leaves), []
        for place, (how, made) in sorted(children.items()):
            parent = leaves[place]
            child = _named(made, how, parent, self.seeds[place], len(self.rounds) - 1)
            reason = next((why for rule in self.rules if (why := rule(child, parent))), "")
            reason = reason or (remember(child, self.seen, "duplicate") if self.rules else "")
            if reason:
                self.dropped.setdefault(reason, []).append(child.task_id)
                again.append(place)
            else:
                leaves[place] = child
        self.rounds[-1] = tuple(leaves)
        return again

    def finished(self) -> Evolution:
        """The rounds as a record."""
        return Evolution(tuple(self.rounds), {reason: tuple(ids) for reason, ids in self.dropped.items()})


def evolve(
    seeds: Sequence[Task],
    operators: Mapping[str, Operator],
    rules: Sequence[Rule],
    *,
    num_rounds: int,
    seed: int,
    max_tries: int = 1,
) -> Evolution:
    """Each round one operator, drawn evenly, for every leaf (WizardLM, arXiv:2304.12244).

    Children that `rules` object to are dropped and tried again, at most `max_tries` times a round; without rules
    nothing is dropped.
    """
    if not operators:
        raise BadInput("nothing to evolve with", where="operators", got="none", wanted="at least one operator")
    pool = Pool(seeds, rules)
    for number in range(1, num_rounds + 1):
        places: list[int] = list(range(len(seeds)))
        for attempt in range(max_tries):
            made = {}
            for place in places:
                rng = stream(seed, "evolve", seeds[place].task_id, number, attempt)
                how = rng.choice(sorted(operators))
                made[place] = how, operators[how](pool.leaves[place], rng)
            places = pool.settle(made, places if attempt else ())
            if not places:
                break
    return pool.finished()


def lineage(task: Task, known: Mapping[str, Task]) -> tuple[Task, ...]:
    """The tasks that led to this one, the seed first, itself last; BadInput where they go round in a circle."""
    chain, ids = [task], {task.task_id}
    while chain[0].origin.parents and chain[0].origin.parents[0] in known:
        parent = known[chain[0].origin.parents[0]]
        if parent.task_id in ids:
            raise BadInput("a task is its own ancestor", where=task.task_id, got=parent.task_id, wanted="a tree")
        ids.add(parent.task_id)
        chain.insert(0, parent)
    return tuple(chain)


def _named(made: Task, how: str, parent: Task, root: Task, number: int) -> Task:
    origin = Origin(f"evolve:{how}", (parent.task_id,))
    return replace(made, task_id=f"{root.task_id}~{number}", origin=origin, split=parent.split, level=number)
