"""Says what a measured number is worth: with how much doubt, and how much of it was the luck of the best of many."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from evolvent.errors import BadInput
from evolvent.records import Estimate

LEVEL = 0.95
NORMAL = 1.959963984540054  # two-sided 95 %


def interval(values: Sequence[float]) -> Estimate:
    """A mean with Student's 95 % interval; from one value alone nothing is known about the spread."""
    num = len(values)
    if not num:
        return Estimate(math.nan, -math.inf, math.inf, 0)
    middle = statistics.fmean(values)
    if num == 1:
        return Estimate(middle, -math.inf, math.inf, 1)
    half = student_t(num - 1) * statistics.stdev(values) / math.sqrt(num)
    return Estimate(middle, middle - half, middle + half, num)


def shrink(runs: Sequence[Sequence[float]]) -> list[Estimate]:
    """For each run of one task its likely true value, given its cases and how much the runs differ beyond chance.

    Empirical Bayes: values vary between runs by `between`, found by the moments of DerSimonian and Laird (1986), and a
    run's mean varies by `within / num`. The best of many is drawn towards the middle as far as luck can explain it: by
    nothing where every run is exact, all the way where the runs differ no more than chance has it.
    """
    if any(not run for run in runs):
        raise BadInput("a run without numbers has no value", where="hive", wanted="at least one case each")
    if not runs:
        return []
    means = [statistics.fmean(run) for run in runs]
    within = _within(runs)
    if within is None:
        return [Estimate(value, -math.inf, math.inf, len(run)) for value, run in zip(means, runs, strict=True)]
    if within == 0 or len(runs) == 1:
        noises = [within / len(run) for run in runs]
        halves = [NORMAL * math.sqrt(noise) for noise in noises]
        return [Estimate(m, m - h, m + h, len(run)) for m, h, run in zip(means, halves, runs, strict=True)]
    between = _between(means, [within / len(run) for run in runs])
    return [_drawn(value, run, within, between, (means, runs)) for value, run in zip(means, runs, strict=True)]


def student_t(freedom: int) -> float:
    """How many standard errors hold 95 % for so many degrees of freedom.

    >>> [round(student_t(freedom), 3) for freedom in (1, 2, 9, 1000)]
    [12.706, 4.303, 2.262, 1.962]
    """
    low, high = 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _inside(middle, freedom) < LEVEL else (low, middle)
    return high


def _drawn(
    value: float,
    run: Sequence[float],
    within: float,
    between: float,
    others: tuple[Sequence[float], Sequence[Sequence[float]]],
) -> Estimate:
    weights = [1 / (between + within / len(one)) for one in others[1]]
    centre = math.fsum(w * m for w, m in zip(weights, others[0], strict=True)) / math.fsum(weights)
    noise = within / len(run)
    kept = between / (between + noise)
    drawn = centre + kept * (value - centre)
    half = NORMAL * math.sqrt(kept * noise + (1 - kept) ** 2 / math.fsum(weights))
    return Estimate(drawn, drawn - half, drawn + half, len(run))


def _within(runs: Sequence[Sequence[float]]) -> float | None:
    """The variance of one case, pooled: a run that happens to have equal cases must not count as exact."""
    freedom = sum(len(run) - 1 for run in runs)
    if not freedom:
        return None
    return math.fsum((len(run) - 1) * statistics.variance(run) for run in runs if len(run) > 1) / freedom


def _between(means: Sequence[float], noises: Sequence[float]) -> float:
    weights = [1 / noise for noise in noises]
    whole = math.fsum(weights)
    centre = math.fsum(w * m for w, m in zip(weights, means, strict=True)) / whole
    spread = math.fsum(w * (m - centre) ** 2 for w, m in zip(weights, means, strict=True))
    scale = whole - math.fsum(w * w for w in weights) / whole
    return max(0.0, (spread - (len(means) - 1)) / scale)


def _inside(t: float, freedom: int) -> float:
    """The chance that Student's t is within +-t (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = freedom % 2
    term = cosine if is_odd else 1.0
    total = 0.0
    for k in range(2 + is_odd, freedom + 1, 2):
        total += term
        term *= cosine * cosine * (k - 1) / k
    return 2 / math.pi * (angle + sine * total) if is_odd else sine * total
