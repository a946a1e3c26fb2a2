"""What a tool call costs through MCP: the official client in memory beside the call of the world itself."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from bench.rows import Row, alone

TARGETS = {"direct": None, "in memory": 1.0}
NUM_CALLS = 2000


def cases(full: bool) -> list[dict[str, Any]]:
    """One world, and a hundred of them in one process."""
    return [{"worlds": 1}, {"worlds": 100}]


def measure(worlds: int) -> list[Row]:
    """The median of many calls to the calculator, in milliseconds."""
    return asyncio.run(_one() if worlds == 1 else _many(worlds))


async def _one() -> list[Row]:
    from mcp import Client

    from evolvent.envs.mcp import as_server

    box, task, call = _box()
    async with box.open(task, 0) as world, Client(as_server(world)) as client:
        times = {
            "direct": await _times(lambda: world.call("agent", call)),
            "in memory": await _times(lambda: client.call_tool("calc", {"expression": "12*(3+4)"})),
        }
    return [
        alone(f"tool call, {how}", statistics.median(taken), "ms p50", same_work=True, target=TARGETS[how],
              why="target: at most", p99=f"{statistics.quantiles(taken, n=100)[98]:.3f}ms")
        for how, taken in times.items()
    ]  # fmt: skip


async def _many(num: int) -> list[Row]:
    from mcp import Client

    from evolvent.envs.mcp import as_server

    box, task, _ = _box()
    async with AsyncExitStack() as stack:
        start = time.perf_counter()
        opened = [await stack.enter_async_context(box.open(task, i)) for i in range(num)]
        clients = [await stack.enter_async_context(Client(as_server(world))) for world in opened]
        ready_ms = 1000 * (time.perf_counter() - start)
        start = time.perf_counter()
        for _ in range(NUM_CALLS // num):
            await asyncio.gather(*(client.call_tool("calc", {"expression": "12*(3+4)"}) for client in clients))
        taken_s = time.perf_counter() - start
    per_call = 1000 * taken_s / (NUM_CALLS // num * num)
    settings = {"worlds": num, "ready": f"{ready_ms:.0f}ms", "calls/s": f"{1000 / per_call:.0f}"}
    return [alone("tool calls side by side", per_call, "ms each", same_work=True, target=1.0,
                  why="target: at most", **settings)]  # fmt: skip


def _box() -> tuple[Any, Any, Any]:
    from evolvent.envs import Toolbox, calc
    from evolvent.records import Origin, Reference, Task, ToolCall, said

    judge = Reference("evolvent.rewards.verify:exact")
    task = Task("bench", "sums", 1, (said("user", "?"),), None, judge, Origin("bench"))
    return Toolbox((calc,), max_calls=10**9), task, ToolCall("calc", {"expression": "12*(3+4)"})


async def _times(run: Callable[[], Awaitable[Any]]) -> list[float]:
    """Milliseconds of each of many runs, the first ones left out."""
    found = []
    for _ in range(NUM_CALLS + 100):
        start = time.perf_counter()
        await run()
        found.append(1000 * (time.perf_counter() - start))
    return found[100:]
