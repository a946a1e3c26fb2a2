"""Proposers that need no model: each looks at what was tried in a space and names the next point."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from evolvent.hive.space import Point, Space, Value, is_same

CLIMB_FRAC = 0.5  # of the moves of a crossover: children alone bring no new values
MAX_DRAWS = 256  # until a point is found that nobody has tried
NUM_GOOD = 8  # of the best runs, those that may be parents of a crossover


@dataclass(frozen=True, slots=True)
class Tried:
    """A point that somebody tried; `worth` is the official number, turned so that more is better.

    It has none while it waits (`is_open`), or where the run was invalid.
    """

    point: Point
    worth: float | None
    agent: str
    commit: str
    parent: str | None = None
    number: int = 0
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """The next point, the try that it builds on, and in a few words how it was found."""

    point: Mapping[str, Value]
    parent: Tried | None
    how: str


class Searcher(Protocol):
    """Looks at what was tried, by number, and says what to try next; None where nothing is left."""

    def propose(self, rng: Random, seen: Sequence[Tried]) -> Move | None:
        """The next point."""
        ...


@dataclass(frozen=True, slots=True)
class HillClimb:
    """A step from the best seen; of equal ones the latest, so that flat ground can be crossed."""

    space: Space

    def propose(self, rng: Random, seen: Sequence[Tried]) -> Move | None:
        """A mutation of the best."""
        best = best_of(seen)
        if best is None:
            return draw_new(self.space, rng, seen)
        point = find_new(lambda: self.space.mutate(best.point, rng), self.space, seen)
        return draw_new(self.space, rng, seen) if point is None else Move(point, best, "a step from the best")


@dataclass(frozen=True, slots=True)
class Crossover:
    """By a fair coin a step from the best, or a child of the best and a good run of another lineage."""

    space: Space

    def propose(self, rng: Random, seen: Sequence[Tried]) -> Move | None:
        """A child of two lineages, where there are two."""
        best = best_of(seen)
        others = self._others(best, seen) if best is not None else []
        if best is None or not others or rng.random() < CLIMB_FRAC:
            return HillClimb(self.space).propose(rng, seen)
        # the better a run, the more children: the first of n has n chances, the last one (linear ranking)
        other = rng.choices(others, weights=range(len(others), 0, -1))[0]

        def breed() -> dict[str, Value]:
            is_whole = rng.random() < 0.5
            child = merge(best, other, seen) if is_whole else self.space.cross(best.point, other.point, rng)
            return child if rng.random() < 0.5 else self.space.mutate(child, rng)

        point = find_new(breed, self.space, seen)
        if point is None:
            return HillClimb(self.space).propose(rng, seen)
        return Move(point, best, f"a child of the best and {other.commit[:8]} by {other.agent}")

    def _others(self, best: Tried, seen: Sequence[Tried]) -> list[Tried]:
        """The best runs that raised what they build on, apart from the line of the best."""
        known = {one.commit: one for one in seen}
        line = lineage(best, known)
        good = sorted((one for one in seen if one.worth is not None), key=_rank, reverse=True)
        apart = (
            one
            for one in good
            if _gain(one, known) > 0 and one.commit not in line and best.commit not in lineage(one, known)
        )
        return list(itertools.islice(apart, NUM_GOOD))


@dataclass(frozen=True, slots=True)
class Anywhere:
    """The control: points drawn blindly."""

    space: Space

    def propose(self, rng: Random, seen: Sequence[Tried]) -> Move | None:
        """A point that nobody has tried."""
        return draw_new(self.space, rng, seen)


def best_of(seen: Sequence[Tried]) -> Tried | None:
    """The best official try; of equal ones the latest."""
    return max((one for one in seen if one.worth is not None), key=_rank, default=None)


def lineage(one: Tried, known: Mapping[str, Tried]) -> set[str]:
    """The commits of a try and of all that it builds on, as far as they are known."""
    line, at = {one.commit}, one.parent
    while at is not None and at not in line and at in known:
        line.add(at)
        at = known[at].parent
    return line


def merge(one: Tried, other: Tried, seen: Sequence[Tried]) -> dict[str, Value]:
    """The first with all that the other changed since they parted, but for what the first has changed itself."""
    known = {tried.commit: tried for tried in seen}
    common = [known[commit] for commit in lineage(one, known) & lineage(other, known)]
    base = max(common, key=lambda tried: tried.number, default=None)
    if base is None:
        return {**one.point, **other.point}
    return {name: other.point[name] if is_same(value, base.point[name]) else value for name, value in one.point.items()}


def find_new(make: Callable[[], dict[str, Value]], space: Space, seen: Sequence[Tried]) -> dict[str, Value] | None:
    """The first point of this make that nobody has tried; None where it makes only known ones."""
    known = {space.key(one.point) for one in seen}
    points = (make() for _ in range(MAX_DRAWS))
    return next((point for point in points if space.key(point) not in known), None)


def draw_new(space: Space, rng: Random, seen: Sequence[Tried]) -> Move | None:
    """A point anywhere that nobody has tried; it builds on the first try, which is the baseline."""
    point = find_new(lambda: space.draw(rng), space, seen)
    return None if point is None else Move(point, seen[0] if seen else None, "drawn anywhere")


def _gain(one: Tried, known: Mapping[str, Tried]) -> float:
    parent = known.get(one.parent or "")
    if parent is None or parent.worth is None or one.worth is None:
        return math.inf
    return one.worth - parent.worth


def _rank(one: Tried) -> tuple[float, int]:
    assert one.worth is not None
    return one.worth, one.number
