"""Practises what the arena found weak: a share of each step goes to weak classes, the rest to all alike."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evolvent.curriculum.frontier import CellKey, Uniform
from evolvent.errors import BadInput
from evolvent.evals.diagnosis import Diagnosis
from evolvent.records import Report
from evolvent.tasks.source import Source


@dataclass(frozen=True, slots=True)
class Targeted:
    """`share` of the tasks of a step are from the weak classes of the last diagnosis, `evenly` says what the rest is.

    A weak class weighs 4p(1-p) + eps, p its success in the arena: where nothing succeeds, attempts teach nothing.
    With no diagnosis yet, or one that calls no class weak, all are. Its control is the same without a share: `Uniform`.
    """

    share: float = 0.5
    evenly: Uniform = Uniform()
    eps: float = 0.05  # as in a Frontier

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise BadInput("not a share", where="curriculum.share", got=self.share, wanted="in (0, 1]")
        if self.eps <= 0:
            raise BadInput("no class may weigh nothing", where="curriculum.eps", got=self.eps, wanted="> 0")

    def begin(self, source: Source) -> LiveTargeted:
        """The mixture at work on a source."""
        return LiveTargeted(self, source)


class LiveTargeted:
    """Knows the weak cells of the last diagnosis; `state()` and `restore()` carry them over a stop.

    A class may be weak because it was never practised, so every class of the source can be a target.
    """

    def __init__(self, plan: Targeted, source: Source) -> None:
        self.plan = plan
        self.events: list[str] = []
        self._evenly = plan.evenly.begin(source)
        levels = {family: source.levels(family)[: plan.evenly.num_levels] for family in source.families}
        self._cells = {family: [(family, level) for level in found] for family, found in levels.items()}
        self._weak: dict[str, float] = {}

    def open_cells(self) -> list[CellKey]:
        """The cells that may be drawn."""
        return list(dict.fromkeys([*self._evenly.open_cells(), *self._targets()]))

    def draw(self, num: int, rng: random.Random) -> list[CellKey]:
        """`num` cells, with replacement; without a target the very cells that the control draws."""
        drawn, targets = self._evenly.draw(num, rng), self._targets()
        if not targets:
            return drawn
        num_targeted = round(self.plan.share * num)
        weights = [4 * p * (1 - p) + self.plan.eps for p in (self._weak[family] for family, _ in targets)]
        return drawn[num_targeted:] + rng.choices(targets, weights, k=num_targeted)

    def target(self, diagnosis: Diagnosis) -> None:
        """Aim at the weak classes of a diagnosis from now on; one that names none ends the aiming."""
        self._weak = {one.family: one.success.value for one in diagnosis.weak if one.family in self._cells}
        aim = ", ".join(f"{w.family} ({w.guidelines[0].lack})" for w in diagnosis.weak if w.family in self._cells)
        self.events.append(f"round {diagnosis.round} targets {aim or 'nothing: no class is weak'}")

    def observe(self, scores: Mapping[CellKey, Sequence[float]]) -> None:
        """Nothing is learned from practice."""

    def adapt(self, report: Report) -> None:
        """Nothing is learned from measurement: those tasks are to stay unseen."""

    def state(self) -> dict[str, Any]:
        """Everything that it remembers, as JSON values."""
        return {"weak": dict(self._weak), "events": list(self.events)}

    def restore(self, kept: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        odd = [family for family in kept.get("weak", ()) if family not in self._cells]
        if odd:
            raise BadInput(
                "the kept curriculum is of another source",
                where="curriculum",
                got=odd[0],
                wanted=sorted(self._cells),
                cure="resume with the plan that wrote it",
            )
        self._weak, self.events = dict(kept.get("weak", {})), list(kept.get("events", ()))

    def _targets(self) -> list[CellKey]:
        return [cell for family in sorted(self._weak) for cell in self._cells[family]]
