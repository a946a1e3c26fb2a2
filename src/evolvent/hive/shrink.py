"""Says what a measured number is worth: with how much doubt, and how much of it was the luck of the best of many."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

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


def cut(found: Estimate, ends: tuple[float, float] | None) -> Estimate:
    """The same interval, no wider than the metric can be; an end that nobody knows stays unknown."""
    if ends is None:
        return found
    low = max(found.low, ends[0]) if math.isfinite(found.low) else found.low
    high = min(found.high, ends[1]) if math.isfinite(found.high) else found.high
    return replace(found, low=low, high=high)


@dataclass(frozen=True, slots=True)
class Moments:
    """What `shrink` needs of a run's cases: their mean, number, and squared distances from the mean, summed."""

    mean: float
    num: int
    squares: float


def moments(cases: Sequence[float]) -> Moments:
    """The moments of a run's cases, at least one."""
    if not cases:
        raise BadInput("a run without numbers has no value", where="hive", wanted="at least one case")
    mean = statistics.fmean(cases)
    return Moments(mean, len(cases), math.fsum((case - mean) ** 2 for case in cases))


def shrink(runs: Sequence[Moments]) -> list[Estimate]:
    """For each run of one task its likely true value, given its cases and how much the runs differ beyond chance.

    Empirical Bayes: values vary between runs by `between`, found by the moments of DerSimonian and Laird (1986), and a
    run's mean varies by `within / num`. The best of many is drawn towards the middle as far as luck can explain it: by
    nothing where every run is exact, all the way where the runs differ no more than chance has it.
    """
    if not runs:
        return []
    within = _within(runs)
    if within is None:
        return [Estimate(run.mean, -math.inf, math.inf, run.num) for run in runs]
    if within == 0 or len(runs) == 1:
        halves = [NORMAL * math.sqrt(within / run.num) for run in runs]
        return [Estimate(r.mean, r.mean - h, r.mean + h, r.num) for r, h in zip(runs, halves, strict=True)]
    between = _between(runs, within)
    weights = [1 / (between + within / run.num) for run in runs]
    whole = math.fsum(weights)
    centre = math.fsum(w * run.mean for w, run in zip(weights, runs, strict=True)) / whole
    return [_drawn(run, within, between, (centre, whole)) for run in runs]


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


def _drawn(run: Moments, within: float, between: float, middle: tuple[float, float]) -> Estimate:
    centre, whole = middle
    noise = within / run.num
    kept = between / (between + noise)
    drawn = centre + kept * (run.mean - centre)
    half = NORMAL * math.sqrt(kept * noise + (1 - kept) ** 2 / whole)
    return Estimate(drawn, drawn - half, drawn + half, run.num)


def _within(runs: Sequence[Moments]) -> float | None:
    """The variance of one case, pooled: a run that happens to have equal cases must not count as exact."""
    freedom = sum(run.num - 1 for run in runs)
    return math.fsum(run.squares for run in runs) / freedom if freedom else None


def _between(runs: Sequence[Moments], within: float) -> float:
    weights = [run.num / within for run in runs]
    whole = math.fsum(weights)
    centre = math.fsum(w * run.mean for w, run in zip(weights, runs, strict=True)) / whole
    spread = math.fsum(w * (run.mean - centre) ** 2 for w, run in zip(weights, runs, strict=True))
    scale = whole - math.fsum(w * w for w in weights) / whole
    return max(0.0, (spread - (len(runs) - 1)) / scale)


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
