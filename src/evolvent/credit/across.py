"""The second stage of an advantage: from the credits of every group of a batch to credits on one scale.

An advantage with a method `across(credits, keys)` sees the whole batch after each group had its first stage;
`credits[i]` belongs to the group with `keys[i]` = (task, seat), and both may differ in size from group to group.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evolvent.credit.advantage import Advantage, as_scored, check_deviation, deviation
from evolvent.errors import BadInput

Key = tuple[str | int, ...]
Credits = Sequence[Sequence[float]]
Part = Callable[[Key], str]


def by_seat(key: Key) -> str:
    """Traces of one seat belong together: what an agent's role earns is compared with that role's others."""
    return str(key[1])


def together(key: Key) -> str:
    """All traces of the batch belong together."""
    return "all"


@dataclass(frozen=True, slots=True)
class BatchWhitened:
    """(credit - mean) / (std + eps) over the batch: REINFORCE++, arXiv:2501.03262; `within` runs first, group by group.

    `within=as_scored` is REINFORCE++, `within=Centred()` its variant with a group baseline. Unlike a group's own, the
    scale depends on other tasks: where scores are offset task by task, `as_scored` learns the offsets.
    """

    ddof: int
    eps: float
    within: Advantage = as_scored
    part: Part = together

    def __post_init__(self) -> None:
        check_deviation(self.ddof, self.eps)

    @property
    def min_group(self) -> int:
        """What the first stage needs."""
        return int(getattr(self.within, "min_group", 1))

    def __call__(self, scores: Sequence[float]) -> list[float]:
        """The first stage, one group."""
        return self.within(scores)

    def across(self, credits: Credits, keys: Sequence[Key]) -> list[list[float]]:
        """The second stage, the batch; where all credits of a part are equal they become zero."""
        found = _by_part(credits, keys, self.part)
        scales = {part: _scale(values, self.ddof, self.eps) for part, values in found.items()}
        means = {part: math.fsum(values) / len(values) for part, values in found.items()}
        parts = [self.part(key) for key in keys]
        return [
            [(c - means[p]) / scales[p] if scales[p] else 0.0 for c in group]
            for p, group in zip(parts, credits, strict=True)
        ]


def _scale(values: Sequence[float], ddof: int, eps: float) -> float:
    """What the credits of a part are divided by; 0 where there is no signal."""
    return 0.0 if min(values) == max(values) else deviation(values, ddof) + eps


@dataclass(frozen=True, slots=True)
class RoleCentred:
    """score - mean score of the same seat in the batch: a baseline per role, for games with unequal roles."""

    def __call__(self, scores: Sequence[float]) -> list[float]:
        """The first stage leaves scores as they are."""
        return as_scored(scores)

    def across(self, credits: Credits, keys: Sequence[Key]) -> list[list[float]]:
        """The second stage; a role whose scores are all equal gets zeros."""
        found = _by_part(credits, keys, by_seat)
        means = {p: v[0] if min(v) == max(v) else math.fsum(v) / len(v) for p, v in found.items()}
        return [[c - means[by_seat(key)] for c in group] for key, group in zip(keys, credits, strict=True)]


@dataclass(frozen=True, slots=True)
class MovingBaseline:
    """score - a moving mean of what its role has scored: role-conditioned advantages, SPIRAL, arXiv:2506.24119.

    After each batch, baseline = decay * baseline + (1 - decay) * mean score of the role in that batch. A batch is
    compared with the baseline from before it, which does not depend on its own draws and so biases nothing.
    """

    decay: float = 0.95  # SPIRAL, released code
    start: float = 0.0
    part: Part = by_seat

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise BadInput("no such decay", where="decay", got=self.decay, wanted="0 <= decay < 1, for example 0.95")

    def begin(self) -> LiveBaseline:
        """The living twin, with no memory yet."""
        return LiveBaseline(self)


class LiveBaseline:
    """A moving baseline at work; what it remembers is one number per role."""

    def __init__(self, plan: MovingBaseline) -> None:
        self.plan = plan
        self.baselines: dict[str, float] = {}

    def __call__(self, scores: Sequence[float]) -> list[float]:
        """The first stage leaves scores as they are."""
        return as_scored(scores)

    def across(self, credits: Credits, keys: Sequence[Key]) -> list[list[float]]:
        """Credits against the baseline as it stood; then it moves."""
        plan = self.plan
        before = [self.baselines.get(plan.part(key), plan.start) for key in keys]
        for part, values in sorted(_by_part(credits, keys, plan.part).items()):
            old = self.baselines.get(part, plan.start)
            self.baselines[part] = plan.decay * old + (1 - plan.decay) * math.fsum(values) / len(values)
        return [[c - b for c in group] for b, group in zip(before, credits, strict=True)]

    def state(self) -> dict[str, Any]:
        """What must be saved."""
        return {"baselines": dict(self.baselines)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what was saved."""
        self.baselines = {str(k): float(v) for k, v in state["baselines"].items()}


def _by_part(credits: Credits, keys: Sequence[Key], part: Part) -> dict[str, list[float]]:
    """The credits of each part, in order; a group that faults left empty has none."""
    found: dict[str, list[float]] = {}
    for key, group in zip(keys, credits, strict=True):
        if group:
            found.setdefault(part(key), []).extend(group)
    return found
