"""From the scores of a group to one number per trace: better or worse than its siblings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from evolvent.errors import BadInput

Advantage = Callable[[Sequence[float]], list[float]]


@dataclass(frozen=True, slots=True)
class Standardized:
    """(score - mean) / (std + eps) within the group: DeepSeekMath, arXiv:2402.03300, section 4.1.2.

    `ddof` 1 is the sample deviation (torch's default, as in TRL and verl), 0 that of the population (rLLM);
    for scores [1, 0, 0, 0] the first advantage is 1.5 against 1.732. A group of equal scores gives zeros.
    """

    ddof: int
    eps: float
    min_group: ClassVar[int] = 2  # fewer attempts have no baseline

    def __post_init__(self) -> None:
        if self.ddof not in (0, 1):
            raise BadInput("no such deviation", where="ddof", got=self.ddof, wanted="0 (population) or 1 (sample)")
        if not 0 <= self.eps < math.inf:
            raise BadInput("not a small positive number", where="eps", got=self.eps, wanted=">= 0, for example 1e-4")

    def __call__(self, scores: Sequence[float]) -> list[float]:
        """One advantage per score."""
        if len(scores) < self.min_group:
            raise BadInput(
                f"a group of {len(scores)} has no baseline",
                where="group_size",
                got=len(scores),
                wanted=">= 2 attempts a task",
                cure="set group_size=8, or an advantage that needs no group",
            )
        if min(scores) == max(scores):  # rounding of the mean would otherwise make noise, and eps=0 a division by zero
            return [0.0] * len(scores)
        mean = math.fsum(scores) / len(scores)
        variance = math.fsum((s - mean) ** 2 for s in scores) / (len(scores) - self.ddof)
        return [(s - mean) / (math.sqrt(variance) + self.eps) for s in scores]


def imitate(scores: Sequence[float]) -> list[float]:
    """Weight 1 for each trace that succeeded, 0 for the others: supervised learning on good demonstrations."""
    return [1.0 if s > 0 else 0.0 for s in scores]


def imitate_all(scores: Sequence[float]) -> list[float]:
    """Weight 1 for every trace, right or wrong: supervised learning on the demonstrations as they are."""
    return [1.0 for _ in scores]
