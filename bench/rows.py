"""A row of the table, and how it comes about: both sides in one process, in turn, A B A B, compared pair by pair."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MATMUL_SIZE = 1024


@dataclass(frozen=True)
class Side:
    """One side of a row: `run` does the work once and returns how many units of it (tokens, steps, rows) it did."""

    run: Callable[[], float]
    ready: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Row:
    """What one comparison came to; `ratio` is ours over theirs in units per second, `limit` our share of the bound."""

    row: str
    peer: str
    ratio: float | None
    low: float | None
    high: float | None
    ours: float
    theirs: float | None
    unit: str
    same_work: bool
    target: float | None
    limit: float | None
    why: str
    settings: Mapping[str, Any]


def alternate(ours: Side, theirs: Side, num_pairs: int) -> tuple[list[float], list[float]]:
    """Units per second of both sides, in turn, after one uncounted run of each."""
    rates: tuple[list[float], list[float]] = ([], [])
    for number in range(num_pairs + 1):
        for rate, side in zip(rates, (ours, theirs), strict=True):
            side.ready()
            start = time.perf_counter()
            units = side.run()
            seconds = time.perf_counter() - start
            if number:
                rate.append(units / seconds)
    return rates


def compared(
    name: str,
    peer: str,
    rates: tuple[list[float], list[float]],
    *,
    unit: str,
    same_work: bool,
    target: float,
    settings: Mapping[str, Any],
    flops_per_unit: float = 0.0,
    flops_per_s: float = 0.0,
    why: str = "",
) -> Row:
    """A row from paired rates: the ratio of medians, and the lowest and highest ratio of a pair."""
    ours, theirs = statistics.median(rates[0]), statistics.median(rates[1])
    pairs = [a / b for a, b in zip(*rates, strict=True)]
    share = ours * flops_per_unit / flops_per_s if flops_per_s else None
    return Row(
        name, peer, ours / theirs, min(pairs), max(pairs), ours, theirs, unit, same_work, target, share, why, settings
    )


def matmul_rate(dtype: Any) -> float:
    """FLOP/s of a square matrix product in this dtype with this process's threads: what the machine gives at best."""
    import torch

    left, right = (torch.randn(MATMUL_SIZE, MATMUL_SIZE).to(dtype) for _ in range(2))
    best = 0.0
    for _ in range(8):
        start = time.perf_counter()
        left @ right
        best = max(best, 2 * MATMUL_SIZE**3 / (time.perf_counter() - start))
    return best
