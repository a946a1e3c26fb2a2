"""Puts the numbers of one metric on a line, so that what matters can be told apart, and writes them alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evolvent.dashboard.wording import DASH, MINUS
from evolvent.store.charts import ticks

FEW = 8  # of so few numbers none is an outlier


@dataclass(frozen=True, slots=True)
class Scale:
    """The two ends of a line and the decimals of its numbers; what lies outside is drawn at the end."""

    low: float
    high: float
    decimals: int

    def share(self, value: float) -> float:
        """Where a number lies, from 0 to 1."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def holds(self, value: float) -> bool:
        """Whether a number is drawn where it is, and not at an end."""
        return self.low <= value <= self.high

    def write(self, value: float | None) -> str:
        """A number as all others of its column are written."""
        return write_number(value, self.decimals)

    def ticks(self, num: int = 4) -> list[float]:
        """Round numbers on the line."""
        return ticks(self.low, self.high, num)


def lay_scale(values: Iterable[float], is_more_better: bool, also: Iterable[float] = ()) -> Scale:
    """The line for these numbers. A few that are far worse than the rest do not press the others together.

    What is in `also` lies on it in any case.
    """
    needed = [v for v in also if math.isfinite(v)]
    found = sorted([*(v for v in values if math.isfinite(v)), *needed], reverse=is_more_better)
    if not found:
        return Scale(0.0, 1.0, 2)
    near = found if len(found) < FEW else found[: math.ceil(0.9 * len(found))]
    width, whole = abs(near[-1] - near[0]), abs(found[-1] - found[0])
    ends = near if whole > 3 * width > 0 else found
    low, high = min(ends[0], ends[-1], *needed), max(ends[0], ends[-1], *needed)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    return Scale(low - room, high + room, _decimals(high - low or abs(high) or 1.0, max(abs(low), abs(high))))


def write_number(value: float | None, decimals: int = 4) -> str:
    """A number with so many decimals; -1 where it is too large or small for any.

    >>> write_number(-0.5, 2), write_number(None), write_number(1234567.0, -1)
    ('−0.50', '–', '1.2346e+06')
    """
    if value is None or not math.isfinite(value):
        return DASH
    said = f"{value:.5g}" if decimals < 0 or abs(value) >= 1e9 else f"{value:,.{decimals}f}"
    return said.replace("-", MINUS)


def write_ticks(values: Sequence[float]) -> list[str]:
    """Numbers at an axis, all with as many decimals as the finest of them needs.

    >>> write_ticks([0.9, 0.95, 1.0])
    ['0.90', '0.95', '1.00']
    """
    if any(abs(value) >= 1e6 or 0 < abs(value) < 1e-5 for value in values):
        return [write_number(value, -1) for value in values]
    said = [f"{value:.6f}".rstrip("0") for value in values]
    return [write_number(value, max(len(one.partition(".")[2]) for one in said)) for value in values]


def _decimals(span: float, largest: float) -> int:
    if largest >= 1e7 or largest < 1e-5:
        return -1
    return min(6, max(0, math.ceil(2 - math.log10(span))))
