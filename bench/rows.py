"""A row of the table, and how it comes about: all sides in one process, in turn, A B A B, compared pair by pair."""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.memory import Watch

MATMUL_SIZE = 1024


@dataclass(frozen=True)
class Side:
    """One side of a row: `run` does the work once and returns how many units of it (tokens, steps, rows) it did."""

    run: Callable[[], float]
    ready: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Row:
    """What one comparison came to; `ratio` is ours over theirs in units per second, `limit` our share of the bound.

    `memory` holds how far resident memory grew at its peak, ours and the peer's in MB, and the ratio of the two.
    """

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
    memory: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Bound:
    """What a unit of our work costs at least, and what this machine gives at best, in the same numbers and threads."""

    flops_per_unit: float
    flops_per_s: float

    @property
    def units_per_s(self) -> float:
        """The rate that nothing can exceed."""
        return self.flops_per_s / self.flops_per_unit


@dataclass(frozen=True)
class Turns:
    """What came of runs in turn: for every side its units per second, and its peak of memory in the first round."""

    rates: tuple[list[float], ...]
    peaks: tuple[float | None, ...]


def in_turn(sides: Sequence[Side], num_rounds: int, device: str = "cpu") -> Turns:
    """One run of every side a round; memory is handed back before the first ones, so that their growth is seen."""
    wait = waiting_for(device)
    rates: tuple[list[float], ...] = tuple([] for _ in sides)
    peaks = []
    gc.collect()
    gc.freeze()  # what libraries have imported need not be looked through before every run
    for number in range(num_rounds):
        for rate, side in zip(rates, sides, strict=True):
            side.ready()
            gc.collect()
            watch = Watch(device) if number == 0 else None
            wait()
            start = time.perf_counter()
            units = side.run()
            wait()
            rate.append(units / (time.perf_counter() - start))
            peaks += [watch.grown()] if watch else []
    gc.unfreeze()
    return Turns(rates, tuple(peaks))


def compared(
    name: str,
    peer: str,
    rates: tuple[Sequence[float], Sequence[float]],
    *,
    unit: str,
    same_work: bool,
    target: float,
    settings: Mapping[str, Any],
    bound: Bound | None = None,
    memory: Mapping[str, float] | None = None,
    why: str = "",
) -> Row:
    """A row from paired rates: the ratio of medians, and the lowest and highest ratio of a pair."""
    ours, theirs = statistics.median(rates[0]), statistics.median(rates[1])
    pairs = [a / b for a, b in zip(*rates, strict=True)]
    share = ours / bound.units_per_s if bound else None
    words = [why] if why else []
    if ours / theirs < target and bound:
        words.append(below(ours, theirs, bound))
    return Row(
        name, peer, ours / theirs, min(pairs), max(pairs), ours, theirs, unit, same_work, target, share,
        "; ".join(words), settings, memory,
    )  # fmt: skip


def below(ours: float, theirs: float, bound: Bound) -> str:
    """Why a ratio is below its target, in numbers: how near the bound both sides are."""
    most = bound.units_per_s
    return (
        f"the products alone, at {bound.flops_per_s / 1e9:.0f} GFLOP/s measured, allow a ratio of {most / theirs:.1f}: "
        f"the peer runs at {100 * theirs / most:.0f} % of that bound, we at {100 * ours / most:.0f} %"
    )


def beside(ours: float | None, theirs: float | None) -> dict[str, float] | None:
    """Peaks of two sides in bytes as a row's `memory`."""
    if not ours or not theirs:
        return None
    return {"ours MB": round(ours / 2**20, 1), "theirs MB": round(theirs / 2**20, 1), "ratio": round(ours / theirs, 3)}


def alone(
    name: str, value: float, unit: str, *, same_work: bool, target: float | None, why: str, **settings: Any
) -> Row:
    """A row without a peer: one number beside its target."""
    return Row(name, "-", None, None, None, value, None, unit, same_work, target, None, why, settings)


def matmul_rate(dtype: str, device: str = "cpu") -> float:
    """FLOP/s of a square matrix product in this dtype with this process's threads: what the machine gives at best."""
    import torch

    wait = waiting_for(device)
    size = MATMUL_SIZE if device == "cpu" else 8 * MATMUL_SIZE
    left, right = (torch.randn(size, size).to(device, getattr(torch, dtype)) for _ in range(2))
    best = 0.0
    for _ in range(8):
        wait()
        start = time.perf_counter()
        left @ right
        wait()
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def waiting_for(device: str) -> Callable[[], None]:
    """A function that returns when the device has done what it was told."""
    if device == "cpu":
        return lambda: None
    import torch

    return lambda: torch.cuda.synchronize(device)


def say(words: str) -> None:
    """A line for the person who waits."""
    print(words, file=sys.stderr, flush=True)
