"""Estimates with 95 % intervals: proportions by Wilson, everything else by a bootstrap over tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from evolvent.errors import BadInput
from evolvent.records import Estimate
from evolvent.seeds import derive

NUM_RESAMPLES = 2000
Z = 1.959963984540054  # two-sided 95 %


def wilson(num_right: int, num: int) -> Estimate:
    """A proportion with Wilson's score interval (Wilson 1927); 0 of 0 is NaN in [0, 1]."""
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
    if num - num_right < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(num - num_right + 1, num + 1))


def mean(values: Sequence[float], seed: int = 0) -> Estimate:
    """A mean over tasks with a percentile bootstrap."""
    return ratio(values, [1.0] * len(values), seed)


def ratio(tops: Sequence[float], bottoms: Sequence[float], seed: int = 0) -> Estimate:
    """sum(tops) / sum(bottoms) over tasks, resampled by task; NaN where nothing is below the line."""
    top, bottom = np.asarray(tops, dtype=float), np.asarray(bottoms, dtype=float)
    if not len(top) or bottom.sum() == 0:
        return Estimate(math.nan, math.nan, math.nan, len(top))
    drawn = _draws(len(top), seed)
    below = bottom[drawn].sum(-1)
    spread = top[drawn].sum(-1)[below > 0] / below[below > 0]
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
    sides = [np.asarray(s, dtype=float) for s in (*after, *before)]
    num = len(sides[0])
    if not num or sides[1].sum() == 0 or sides[3].sum() == 0:
        return Estimate(math.nan, math.nan, math.nan, num)
    drawn = _draws(num, seed)
    top, bottom, top0, bottom0 = (s[drawn].sum(-1) for s in sides)
    held = (bottom > 0) & (bottom0 > 0)
    spread = top[held] / bottom[held] - top0[held] / bottom0[held]
    value = sides[0].sum() / sides[1].sum() - sides[2].sum() / sides[3].sum()
    return _estimate(float(value), spread, num)


def _draws(num: int, seed: int) -> np.ndarray:
    generator = np.random.Generator(np.random.Philox(key=derive(seed, "bootstrap")))
    drawn: np.ndarray = generator.integers(0, num, size=(NUM_RESAMPLES, num))
    return drawn


def _estimate(value: float, spread: np.ndarray, num: int) -> Estimate:
    low, high = np.quantile(spread, [0.025, 0.975]) if len(spread) else (math.nan, math.nan)
    return Estimate(value, float(low), float(high), num)
