"""Decides from paired measurements whether a challenger is better, so that luck alone is hardly ever kept.

**The guarantee.** The k-th comparison of a task is made at the level alpha / (k (k + 1)); these add up to alpha. So the
chance that a task *ever* keeps a challenger that is no better than its incumbent is at most alpha, however many tries
there are and whatever they learned from each other, where (1) incumbent and challenger are both measured anew, side by
side, on seeds that nobody has seen before (`fresh_seeds`), and (2) "no better" means what the test takes it to mean:

* `sign_flip` (the default): on a fresh seed the two could swap their numbers and nobody would notice. A challenger that
  wins a little nearly always and rarely loses much is better in this sense, even where its mean is worse.
* `bet` (for a metric with a known range): its mean is not above the incumbent's, whatever the distribution. It needs
  many more seeds where gains are small beside the range.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evolvent.errors import BadInput
from evolvent.hive.shrink import interval
from evolvent.hive.task import Direction
from evolvent.records import Estimate
from evolvent.seeds import derive

if TYPE_CHECKING:
    import numpy as np

MAX_EXACT = 36  # pairs whose 2^n signs are still counted one by one, in two halves
STAKES = tuple(2.0**-i for i in range(1, 12))


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a challenger is kept: its p-value, the level that was left for it, and how much better it measured."""

    is_kept: bool
    p: float
    level: float
    gain: Estimate
    why: str


@dataclass(frozen=True, slots=True)
class KeepRule:
    """Keeps a challenger when the level of its comparison is reached; see the guarantee of this module.

    `width` is how far apart two numbers of the metric can be: where it is given, means are compared by betting.
    `num_spare` seeds are measured beyond the fewest that can decide, for gains that are not won on every seed.
    """

    alpha: float = 0.05
    width: float | None = None
    num_spare: int = 4

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise BadInput("no false-positive rate", where="KeepRule.alpha", got=self.alpha, wanted="0 < alpha < 1")
        if self.num_spare < 0:
            raise BadInput("no number of seeds", where="KeepRule.num_spare", got=self.num_spare, wanted=">= 0")
        if self.width is not None and not 0 < self.width < math.inf:
            raise BadInput("no width of a metric", where="KeepRule.width", got=self.width, wanted="> 0, or None")

    def level(self, number: int) -> float:
        """What the comparison with this number, counted from 1 over all challengers of a task, may spend of alpha."""
        if number < 1:
            raise BadInput("comparisons are counted from 1", where="KeepRule.level", got=number, wanted=">= 1")
        return self.alpha / (number * (number + 1))

    def num_pairs(self, number: int) -> int:
        """The fewest fresh seeds on which this comparison could keep anything: all won, by as much as can be."""
        level, num = self.level(number), 1
        while self._p([self.width or 1.0] * num) > level:
            num += 1
        return num

    def num_seeds(self, number: int) -> int:
        """How many fresh seeds this comparison is given: the fewest and the spare ones, and never too many to decide.

        The exact test ends at 36 pairs; what is beyond needs more of them for the same level.
        """
        level, num = self.level(number), self.num_pairs(number) + self.num_spare
        while self._p([self.width or 1.0] * num) > level:
            num += 1
        return num

    def decide(
        self, challenger: Sequence[float], incumbent: Sequence[float], *, number: int, direction: Direction
    ) -> Decision:
        """Compare the two on the same fresh seeds, one number for each."""
        _check_pairs(challenger, incumbent)
        gains = [direction.sign * (new - old) for new, old in zip(challenger, incumbent, strict=True)]
        level, p = self.level(number), self._p(gains)
        gain = interval(gains)
        is_kept = p <= level and gain.value > 0
        if is_kept:
            why = f"better on {sum(g > 0 for g in gains)} of {len(gains)} seeds: p = {p:.2g}, level {level:.2g}"
        elif len(gains) < self.num_pairs(number):
            why = f"{len(gains)} seeds cannot decide comparison {number}: it needs {self.num_pairs(number)}"
        else:
            why = f"not told apart from luck: p = {p:.2g}, level {level:.2g}"
        return Decision(is_kept, p, level, gain, why)

    def _p(self, gains: Sequence[float]) -> float:
        return sign_flip(gains) if self.width is None else bet(gains, self.width)


def fresh_seeds(secret: int, task_digest: str, number: int, num: int) -> tuple[int, ...]:
    """The seeds of one comparison: nobody without the secret can tell them, and no comparison shares any."""
    return tuple(derive(secret, "compare", task_digest, number, i) >> 1 for i in range(num))


def sign_flip(gains: Sequence[float]) -> float:
    """Chance of so large a sum if each gain had come with a sign of its own by a fair coin (Fisher 1935): exact.

    Beyond 36 pairs Hoeffding's bound exp(-S^2 / (2 sum g^2)), which is never below it.

    >>> sign_flip([1, 1, 1, 1]), sign_flip([1, 1, 1, -1]), sign_flip([0, 0])
    (0.0625, 0.3125, 1.0)
    """
    largest = max(map(abs, gains), default=0.0)
    if largest == 0:
        return 1.0
    gains = [gain / largest for gain in gains]  # the unit of the metric decides nothing
    total, squares = math.fsum(gains), math.fsum(gain * gain for gain in gains)
    if len(gains) > MAX_EXACT:
        return math.exp(-(max(total, 0.0) ** 2) / (2 * squares))
    import numpy as np

    half = len(gains) // 2
    left, right = _signed_sums(gains[:half]), np.sort(_signed_sums(gains[half:]))
    slack = 1e-9 * math.fsum(abs(gain) for gain in gains)  # equal sums count, however they were rounded
    below = np.searchsorted(right, total - slack - left, side="left")
    return float((len(right) - below).sum() / (len(left) * len(right)))


def bet(gains: Sequence[float], width: float) -> float:
    """One over the most that a gambler on "the mean is above 0" ever owned, who began with 1 spread over some stakes.

    Where the mean is not above 0 and no gain is below -width, this is at most p with chance at most p, at whatever
    moment one looks (Ville 1939; Waudby-Smith and Ramdas, arXiv:2010.09686).

    >>> round(bet([1.0] * 10, 1.0), 3), bet([-1.0, -1.0], 1.0)
    (0.138, 1.0)
    """
    purses, most = [1.0] * len(STAKES), 1.0
    for gain in gains:
        if abs(gain) > width * (1 + 1e-12):
            raise BadInput("a gain is wider than the metric", where="hive", got=gain, wanted=f"within {width}")
        purses = [purse * (1 + stake * gain / width) for purse, stake in zip(purses, STAKES, strict=True)]
        most = max(most, statistics.fmean(purses))
    return 1.0 / most


def _signed_sums(gains: Sequence[float]) -> np.ndarray:
    import numpy as np

    sums = np.zeros(1)
    for gain in gains:
        sums = np.concatenate([sums + gain, sums - gain])
    return sums


def _check_pairs(challenger: Sequence[float], incumbent: Sequence[float]) -> None:
    if len(challenger) != len(incumbent) or not challenger:
        got = f"{len(challenger)} and {len(incumbent)} numbers"
        raise BadInput("both must be measured on the same seeds", where="hive", got=got, wanted="as many, at least 1")
    for value in (*challenger, *incumbent):
        if not math.isfinite(value):
            raise BadInput("only finite numbers are compared", where="hive", got=value)
