"""A frontier over (family, level): practise where attempts sometimes succeed, go up when they mostly do."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evolvent.errors import BadInput
from evolvent.records import Report
from evolvent.tasks.source import Source

CellKey = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Frontier:
    """Cells are drawn with weight 4p(1-p) + eps, p the running success rate of the cell.

    A group has signal only if it is mixed, which is likeliest at p = 1/2. The top level of a family goes up when its
    p stays above `raise_above` for `patience` batches, and down when it stays below `lower_below`. A cell that stays
    at 0 or 1 for `dead_after` batches is retired and reported: mastered, or its checker is broken.
    """

    start_levels: int = 1
    raise_above: float = 0.7
    lower_below: float = 0.2
    patience: int = 2
    lower_patience: int = 20
    eps: float = 0.05
    memory: float = 0.7
    dead_after: int = 40

    def __post_init__(self) -> None:
        wanted = {
            "start_levels": (self.start_levels >= 1, ">= 1"),
            "raise_above": (self.lower_below < self.raise_above <= 1, "above lower_below, at most 1"),
            "lower_below": (self.lower_below >= 0, ">= 0"),
            "patience": (self.patience >= 1, ">= 1"),
            "lower_patience": (self.lower_patience >= 1, ">= 1"),
            "eps": (self.eps > 0, "> 0, so that a cell at 0 or 1 is still drawn now and then"),
            "memory": (0 <= self.memory < 1, "in [0, 1)"),
            "dead_after": (self.dead_after >= 1, ">= 1"),
        }
        for name, (holds, least) in wanted.items():
            if not holds:
                raise BadInput("not a frontier", where=f"curriculum.{name}", got=getattr(self, name), wanted=least)

    def begin(self, source: Source) -> LiveFrontier:
        """The frontier at work on a source."""
        return LiveFrontier(self, source)


@dataclass(slots=True)
class _CellState:
    rate: float = 0.5
    num_seen: int = 0
    above: int = 0
    below: int = 0
    stuck: int = 0
    retired: bool = False


class LiveFrontier:
    """What the frontier has seen so far; `state()` and `restore()` carry it over a stop."""

    def __init__(self, plan: Frontier, source: Source) -> None:
        self.plan = plan
        self._levels = {family: source.levels(family) for family in source.families}
        self._top = {family: min(plan.start_levels, len(levels)) - 1 for family, levels in self._levels.items()}
        self._cells: dict[CellKey, _CellState] = {}
        self.events: list[str] = []

    def open_cells(self) -> list[CellKey]:
        """The cells that may be drawn now."""
        cells = [(f, levels[i]) for f, levels in self._levels.items() for i in range(self._top[f] + 1)]
        live = [c for c in cells if not self._cell(c).retired]
        return live or cells

    def weights(self) -> dict[CellKey, float]:
        """The weight of each open cell."""
        rates = {c: self._cell(c).rate for c in self.open_cells()}
        return {c: 4 * p * (1 - p) + self.plan.eps for c, p in rates.items()}

    def draw(self, num: int, rng: random.Random) -> list[CellKey]:
        """`num` cells, with replacement."""
        weights = self.weights()
        return rng.choices(list(weights), list(weights.values()), k=num)

    def observe(self, scores: Mapping[CellKey, Sequence[float]]) -> None:
        """Learn from a batch: the true scores of each cell that was drawn."""
        for key, values in sorted(scores.items()):
            if values:
                self._learn(key, values)
        for family, levels in self._levels.items():
            self._move(family, levels)

    def _learn(self, key: CellKey, values: Sequence[float]) -> None:
        cell, mean = self._cell(key), sum(values) / len(values)
        cell.rate = mean if not cell.num_seen else self.plan.memory * cell.rate + (1 - self.plan.memory) * mean
        cell.num_seen += len(values)
        cell.above = cell.above + 1 if cell.rate > self.plan.raise_above else 0
        cell.below = cell.below + 1 if cell.rate < self.plan.lower_below else 0
        cell.stuck = cell.stuck + 1 if mean in (0.0, 1.0) else 0
        if cell.stuck >= self.plan.dead_after and not cell.retired:
            cell.retired = True
            self.events.append(f"retired {key[0]}:{key[1]} at {mean:.0%}")

    def _move(self, family: str, levels: Sequence[int]) -> None:
        top = self._top[family]
        cell = self._cell((family, levels[top]))
        if (cell.above >= self.plan.patience or cell.retired) and top + 1 < len(levels) and cell.rate > 0.5:
            self._top[family] = top + 1
            self.events.append(f"raised {family} to {levels[top + 1]}")
        elif cell.below >= self.plan.lower_patience and top + 1 > self.plan.start_levels:
            self._top[family] = top - 1
            self._cells[family, levels[top]] = _CellState()
            self._cell((family, levels[top - 1])).above = 0
            self.events.append(f"lowered {family} to {levels[top - 1]}")

    def adapt(self, report: Report) -> None:
        """Take held-out accuracy where a cell has not been practised yet; only what was sampled as in practice."""
        if "sampled" not in report.metrics:  # greedy, forced, best of k: other ways to act
            return
        for cell in report.cells:
            state = self._cell((cell.family, cell.level))
            if cell.scores and not state.num_seen:
                state.rate = sum(cell.scores) / len(cell.scores)

    def _cell(self, key: CellKey) -> _CellState:
        return self._cells.setdefault(key, _CellState())

    def state(self) -> dict[str, Any]:
        """Everything that it remembers, as JSON values."""
        names = _CellState.__slots__
        cells = {f"{f}:{level}": {n: getattr(c, n) for n in names} for (f, level), c in sorted(self._cells.items())}
        return {"top": dict(self._top), "cells": cells, "events": list(self.events)}

    def restore(self, kept: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        top = kept.get("top", {})
        if set(top) != set(self._levels) or any(not 0 <= n < len(self._levels[f]) for f, n in top.items()):
            raise BadInput(
                "the kept curriculum is of another source",
                where="curriculum",
                got=dict(top),
                wanted={family: f"below {len(levels)}" for family, levels in self._levels.items()},
                cure="resume with the plan that wrote it",
            )
        self._top = dict(top)
        self._cells = {}
        for name, values in kept["cells"].items():
            family, _, level = name.rpartition(":")
            self._cells[family, int(level)] = _CellState(**values)
        self.events = list(kept["events"])


@dataclass(frozen=True, slots=True)
class Uniform:
    """The first `num_levels` levels of `families` alike, by default of every one; nothing is learned about them."""

    num_levels: int = 1
    families: tuple[str, ...] = ()

    def begin(self, source: Source) -> LiveUniform:
        """The mixture at work on a source."""
        return LiveUniform(self, source)


class LiveUniform:
    """Draws cells evenly."""

    def __init__(self, plan: Uniform, source: Source) -> None:
        self.events: list[str] = []
        missing = sorted(set(plan.families) - set(source.families))
        if missing:
            raise BadInput("no such family", where="curriculum.families", got=missing[0], wanted=source.families)
        families = plan.families or source.families
        self._cells = [(f, level) for f in families for level in source.levels(f)[: plan.num_levels]]

    def open_cells(self) -> list[CellKey]:
        """The cells that may be drawn."""
        return list(self._cells)

    def draw(self, num: int, rng: random.Random) -> list[CellKey]:
        """`num` cells, with replacement."""
        return rng.choices(self._cells, k=num)

    def observe(self, scores: Mapping[CellKey, Sequence[float]]) -> None:
        """Nothing is learned."""

    def adapt(self, report: Report) -> None:
        """Nothing is learned."""

    def state(self) -> dict[str, Any]:
        """Nothing is remembered."""
        return {}

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Nothing is remembered."""
