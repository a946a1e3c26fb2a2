"""From the scores of a group to one number per trace: better or worse than its siblings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from evolvent.errors import BadInput

Advantage = Callable[[Sequence[float]], list[float]]
"""Scores of a group to credits. `min_group` says how many scores it needs; a second stage, `across(credits, keys)`,
sees all groups of a batch (see credit/across.py); `begin()` makes a living twin of one that remembers."""


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
        check_deviation(self.ddof, self.eps)

    def __call__(self, scores: Sequence[float]) -> list[float]:
        """One advantage per score."""
        check_group(scores, self.min_group)
        if _are_equal(scores):
            return [0.0] * len(scores)
        mean = math.fsum(scores) / len(scores)
        scale = deviation(scores, self.ddof) + self.eps
        return [(s - mean) / scale for s in scores]


@dataclass(frozen=True, slots=True)
class Centred:
    """score - mean of the group, without a division: Dr. GRPO, arXiv:2503.20783; [1, 0, 0, 0] gives 0.75 first."""

    min_group: ClassVar[int] = 2

    def __call__(self, scores: Sequence[float]) -> list[float]:
        """One advantage per score."""
        check_group(scores, self.min_group)
        if _are_equal(scores):
            return [0.0] * len(scores)
        mean = math.fsum(scores) / len(scores)
        return [s - mean for s in scores]


@dataclass(frozen=True, slots=True)
class LeaveOneOut:
    """score - mean of the other scores: RLOO, arXiv:2402.14740, equation 7; [1, 0, 0, 0] gives 1 and three of -1/3.

    The baseline does not depend on the attempt itself, so the gradient is unbiased; it is n / (n - 1) times `Centred`.
    """

    min_group: ClassVar[int] = 2

    def __call__(self, scores: Sequence[float]) -> list[float]:
        """One advantage per score."""
        check_group(scores, self.min_group)
        if _are_equal(scores):
            return [0.0] * len(scores)
        total, others = math.fsum(scores), len(scores) - 1
        return [s - (total - s) / others for s in scores]


@dataclass(frozen=True, slots=True)
class MeanNormalised:
    """(score - mean) / mean: MaxRL, arXiv:2602.02710; with scores of 0 and 1 the rarer a success, the more it weighs.

    [1, 0, 0, 0] gives 3, -1, -1, -1. Only for scores that are never negative; a group of zeros gives zeros.
    """

    min_group: ClassVar[int] = 2

    def __call__(self, scores: Sequence[float]) -> list[float]:
        """One advantage per score."""
        check_group(scores, self.min_group)
        if min(scores) < 0:
            raise BadInput(
                "a mean of scores with two signs is no scale",
                where="MeanNormalised",
                got=min(scores),
                wanted="scores >= 0",
                cure="shift the reward, or take Standardized",
            )
        if _are_equal(scores):
            return [0.0] * len(scores)
        mean = math.fsum(scores) / len(scores)
        return [(s - mean) / mean for s in scores]


@dataclass(frozen=True, slots=True)
class PassAtK:
    """Credit for the chance that `k` attempts hold a success: pass@k training, arXiv:2508.10751, analytic form.

    An attempt succeeds where its score is above `threshold`. With n attempts, f of them failures, and C the binomial:
    R = 1 - C(f, k) / C(n, k) is pass@k of the group and s = sqrt(R (1 - R)) its deviation; a success has (1 - R) / s, a
    failure (1 - R - C(f - 1, k - 1) / C(n - 1, k - 1)) / s: 1 - R less the chance that it fails together with k - 1
    siblings. [1, 0, 0, 0] with k=2 gives 1 and three of -1/3; where pass@k is 0 or 1 there is nothing to learn.
    """

    k: int
    threshold: float

    def __post_init__(self) -> None:
        if self.k < 1:
            raise BadInput("no such number of attempts", where="k", got=self.k, wanted=">= 1")

    @property
    def min_group(self) -> int:
        """Attempts that a group needs: pass@k of fewer than k is not defined, and one has no baseline."""
        return max(self.k, 2)

    def __call__(self, scores: Sequence[float]) -> list[float]:
        """One advantage per score; they sum to zero."""
        check_group(scores, self.min_group)
        num, failed = len(scores), [s <= self.threshold for s in scores]
        miss = math.comb(sum(failed), self.k) / math.comb(num, self.k)
        if miss in (0, 1):
            return [0.0] * num
        scale = math.sqrt(miss * (1 - miss))
        joint = math.comb(sum(failed) - 1, self.k - 1) / math.comb(num - 1, self.k - 1)
        return [(miss - joint) / scale if fails else miss / scale for fails in failed]


def as_scored(scores: Sequence[float]) -> list[float]:
    """The scores themselves, without a baseline: REINFORCE, and the first stage of REINFORCE++."""
    return [float(s) for s in scores]


def imitate(scores: Sequence[float]) -> list[float]:
    """Weight 1 for each trace that succeeded, 0 for the others: supervised learning on good demonstrations."""
    return [1.0 if s > 0 else 0.0 for s in scores]


def imitate_all(scores: Sequence[float]) -> list[float]:
    """Weight 1 for every trace, right or wrong: supervised learning on the demonstrations as they are."""
    return [1.0 for _ in scores]


def check_group(scores: Sequence[float], least: int) -> None:
    """BadInput for a group with too few attempts to compare."""
    if len(scores) < least:
        raise BadInput(
            f"a group of {len(scores)} has no baseline",
            where="group_size",
            got=len(scores),
            wanted=f">= {least} attempts a task",
            cure="set group_size=8, or an advantage that needs no group",
        )


def check_deviation(ddof: int, eps: float) -> None:
    """BadInput for a deviation that does not exist, or an eps that is no small positive number."""
    if ddof not in (0, 1):
        raise BadInput("no such deviation", where="ddof", got=ddof, wanted="0 (population) or 1 (sample)")
    if not 0 <= eps < math.inf:
        raise BadInput("not a small positive number", where="eps", got=eps, wanted=">= 0, for example 1e-4")


def deviation(scores: Sequence[float], ddof: int) -> float:
    """The standard deviation, of the sample (`ddof` 1) or of the population (0)."""
    mean = math.fsum(scores) / len(scores)
    return math.sqrt(math.fsum((s - mean) ** 2 for s in scores) / (len(scores) - ddof))


def _are_equal(scores: Sequence[float]) -> bool:
    """Equal scores have no signal; rounding of their mean would make noise, and eps=0 a division by zero."""
    return min(scores) == max(scores)
