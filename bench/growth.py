"""How cost grows: sampled tokens/s by batch, length and size of model, step time by group, memory by context."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench.inputs import model_folder, our_policy, prompts
from bench.memory import peak_growth
from bench.our_side import Practice, batch_of, gradient
from bench.rows import Row, alone, waiting_for
from bench.sampling import sampled
from bench.step import scored

PROMPT, GROUP, REPEATS = 24, 8, 3
CURVES = {
    "batch": "tokens/s", "length": "tokens/s", "size": "tokens/s", "group": "s", "context": "MB",
}  # fmt: skip
Point = tuple[str, float, float]  # line, x, y


def cases(full: bool) -> list[dict[str, Any]]:
    """Every curve on one thread; in both number types where the whole grid is wanted."""
    return [
        {"curve": curve, "dtype": dtype, "threads": 1}
        for curve in CURVES
        for dtype in (("float32", "bfloat16") if full else ("float32",))
    ]


def measure(curve: str, dtype: str, threads: int, device: str = "cpu") -> list[Row]:
    """The points of one curve: `settings` says which line, and where on the x axis."""
    points = {
        "batch": _by_batch, "length": _by_length, "size": _by_size, "group": _by_group, "context": _by_context,
    }[curve](dtype, device)  # fmt: skip
    return [
        alone(f"growth, by {curve}", y, CURVES[curve], same_work=True, target=None, why="",
              curve=curve, line=line, x=x, dtype=dtype, threads=threads)
        for line, x, y in points
    ]  # fmt: skip


def _by_batch(dtype: str, device: str) -> Iterator[Point]:
    for size, most in (("0.3M", 1024), ("3M", 512)):
        policy = our_policy(model_folder(size), dtype, device)
        rows = GROUP
        while rows <= most:
            yield size, rows, _tokens_per_s(policy, rows, 64, device)
            rows *= 2


def _by_length(dtype: str, device: str) -> Iterator[Point]:
    policy = our_policy(model_folder("0.3M", 2048), dtype, device)
    for new in (16, 32, 64, 128, 256, 512, 1024):
        yield "0.3M, 64 rows", new, _tokens_per_s(policy, 64, new, device)


def _by_size(dtype: str, device: str) -> Iterator[Point]:
    for size in ("0.3M", "3M", "10M"):
        policy = our_policy(model_folder(size), dtype, device)
        num = sum(p.numel() for p in policy.parameters())
        yield "256 rows, 64 tokens", num / 1e6, _tokens_per_s(policy, 256, 64, device)


def _by_group(dtype: str, device: str) -> Iterator[Point]:
    folder = model_folder("0.3M")
    asked = prompts(16, PROMPT, PROMPT)
    for group in (2, 4, 8, 16, 32):
        ours = Practice(folder, dtype, group, device)
        row_lengths = [64] * (len(asked) * group)
        yield "16 prompts, 64 tokens", group, _median_s(lambda: ours.step(asked, row_lengths, scored), device)  # noqa: B023


def _by_context(dtype: str, device: str) -> Iterator[Point]:
    folder = model_folder("0.3M", 2048)
    for context in (128, 256, 512, 1024, 2048):
        policy = our_policy(folder, dtype, device)
        asked = prompts(8, PROMPT, PROMPT)
        drawn = peak_growth(lambda: sampled(policy, asked, [context - PROMPT] * 64, 1), device)  # noqa: B023
        if drawn:
            yield "sampling 64 rows", context, drawn / 2**20
        batch = batch_of([(row * (context // PROMPT), PROMPT, 1.0) for row in asked])
        held = peak_growth(lambda: gradient(policy, batch, dtype), device)  # noqa: B023
        if held:
            yield "training 8 rows", context, held / 2**20


def _tokens_per_s(policy: Any, rows: int, new: int, device: str) -> float:
    asked = prompts(rows // GROUP, PROMPT, PROMPT)
    return rows * new / _median_s(lambda: sampled(policy, asked, [new] * rows, 1), device)


def _median_s(run: Callable[[], object], device: str) -> float:
    wait, taken = waiting_for(device), []
    for _ in range(REPEATS + 1):
        wait()
        start = time.perf_counter()
        run()
        wait()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])
