"""Estimates with 95 % intervals: proportions by Wilson, everything else by a bootstrap over tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from evolvent.errors import BadInput
from evolvent.records import Estimate
from evolvent.seeds import derive

NUM_RESAMPLES = 2000
MAX_DRAWS = 1 << 20  # held at once, which bounds memory where tasks are many
Z = 1.959963984540054  # two-sided 95 %


def wilson(num_right: int, num: int) -> Estimate:
    """A proportion with Wilson's score interval (Wilson 1927); 0 of 0 is NaN in [0, 1]."""
    if not 0 <= num_right <= num:
        raise BadInput("not a proportion", got=f"{num_right} of {num}", wanted="0 <= right <= all")
    if num == 0:
        return Estimate(math.nan, 0.0, 1.0, 0)
    share, z2 = num_right / num, Z * Z
    centre = (share + z2 / (2 * num)) / (1 + z2 / num)
    half = Z * math.sqrt(share * (1 - share) / num + z2 / (4 * num * num)) / (1 + z2 / num)
    low = 0.0 if num_right == 0 else centre - half
    high = 1.0 if num_right == num else centre + half
    return Estimate(share, low, high, num)


def pass_at_k(num: int, num_right: int, k: int) -> float:
    """Chance that k of `num` attempts, drawn without replacement, hold a right one (arXiv:2107.03374, eq. 1)."""
    if not 1 <= k <= num:
        raise BadInput("pass@k needs 1 <= k <= attempts", got=f"k={k}, attempts={num}", cure="more samples a task")
    if not 0 <= num_right <= num:
        raise BadInput("not a proportion", got=f"{num_right} of {num}", wanted="0 <= right <= all")
    if num - num_right < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(num - num_right + 1, num + 1))


def mean(values: Sequence[float], seed: int = 0) -> Estimate:
    """A mean over tasks with a percentile bootstrap."""
    return ratio(values, [1.0] * len(values), seed)


def share(values: Sequence[float], seed: int = 0) -> Estimate:
    """A mean of values in 0..1 over tasks: Wilson where each is 0 or 1, so that none of 16 is not certainly none."""
    if all(v in (0.0, 1.0) for v in values):
        return wilson(int(sum(values)), len(values))
    return mean(values, seed)


def ratio(tops: Sequence[float], bottoms: Sequence[float], seed: int = 0) -> Estimate:
    """sum(tops) / sum(bottoms) over tasks, resampled by task; NaN where nothing is below the line."""
    top, bottom = _columns(tops, bottoms)
    if not len(top) or bottom.sum() == 0:
        return Estimate(math.nan, math.nan, math.nan, len(top))
    above, below = _resample([top, bottom], seed)
    spread = above[below > 0] / below[below > 0]
    return _estimate(float(top.sum() / bottom.sum()), spread, len(top))


def difference(after: Sequence[float], before: Sequence[float], seed: int = 0) -> Estimate:
    """mean(after) - mean(before) on the same tasks in the same order, resampled by task."""
    if len(after) != len(before):
        raise BadInput("a paired difference needs the same tasks on both sides", got=f"{len(after)} and {len(before)}")
    gap = np.asarray(after, dtype=float) - np.asarray(before, dtype=float)
    return mean(gap.tolist(), seed)


def ratio_difference(
    after: tuple[Sequence[float], Sequence[float]], before: tuple[Sequence[float], Sequence[float]], seed: int = 0
) -> Estimate:
    """The difference of two ratios over the same tasks, each given as (tops, bottoms)."""
    sides = _columns(*after, *before)
    num = len(sides[0])
    if not num or sides[1].sum() == 0 or sides[3].sum() == 0:
        return Estimate(math.nan, math.nan, math.nan, num)
    top, bottom, top0, bottom0 = _resample(sides, seed)
    held = (bottom > 0) & (bottom0 > 0)
    spread = top[held] / bottom[held] - top0[held] / bottom0[held]
    value = sides[0].sum() / sides[1].sum() - sides[2].sum() / sides[3].sum()
    return _estimate(float(value), spread, num)


def _columns(*sides: Sequence[float]) -> list[np.ndarray]:
    if len({len(side) for side in sides}) > 1:
        raise BadInput(
            "numbers over tasks need the same tasks in each", got=f"{', '.join(str(len(s)) for s in sides)} tasks"
        )
    return [np.asarray(side, dtype=float) for side in sides]


def _resample(columns: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """The sum of each column over each resample of the tasks, (columns, resamples)."""
    num = len(columns[0])
    generator = np.random.Generator(np.random.Philox(key=derive(seed, "bootstrap")))
    sums = np.empty((len(columns), NUM_RESAMPLES))
    stride = max(1, MAX_DRAWS // num)  # the draws do not depend on it
    for start in range(0, NUM_RESAMPLES, stride):
        stop = min(start + stride, NUM_RESAMPLES)
        drawn = generator.integers(0, num, size=(stop - start, num))
        for i, column in enumerate(columns):
            sums[i, start:stop] = column[drawn].sum(-1)
    return sums


def _estimate(value: float, spread: np.ndarray, num: int) -> Estimate:
    low, high = np.quantile(spread, [0.025, 0.975]) if len(spread) else (math.nan, math.nan)
    return Estimate(value, float(low), float(high), num)
