"""Reading back stored episodes with a filter."""

from __future__ import annotations

import resource
import time
from dataclasses import replace
from typing import Any

from bench.inputs import scratch
from bench.rows import Row, alone

NUM_FILES = 20


def cases(full: bool) -> list[dict[str, Any]]:
    """One hundred thousand episodes, one in a hundred of which is wanted."""
    return [{"episodes": 100_000}]


def measure(episodes: int) -> list[Row]:
    """Write files as a run does, then read those of one level back as records."""
    from evolvent.store import read_episodes, write_episodes

    folder = scratch()
    part = [_episode(i) for i in range(episodes // NUM_FILES)]
    for number in range(NUM_FILES):
        write_episodes(folder / f"step-{number:06d}.parquet", part, run="bench", step=number)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    found = read_episodes(sorted(folder.glob("*.parquet")), "level = 7")
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    whole = len(found) == episodes // 100
    settings = {
        "episodes": episodes,
        "kept": len(found),
        "peak MB": round(peak / 1024),
        "grew MB": round((peak - before) / 1024),
    }
    return [alone("reading back, filtered", seconds, "s", same_work=whole, target=2.0,
                  why="target: below 2 s and 500 MB", **settings)]  # fmt: skip


def _episode(number: int) -> Any:
    from evolvent.records import (
        Episode,
        Message,
        Origin,
        Outcome,
        Private,
        Reference,
        Score,
        Task,
        Text,
        Trace,
        Turn,
        said,
    )

    task = Task(
        f"t{number}", "chain", number % 100, (said("user", "1+1?"),), Private("2"), Reference("a:b"), Origin("bench")
    )
    asked = Turn("0", None, "agent", 0, said("user", "1+1?"), tuple(range(20)), (False,) * 20)
    spoken = Turn(
        "1",
        "0",
        "agent",
        1,
        Message("assistant", (Text("2"),)),
        tuple(range(30)),
        (True,) * 30,
        (-0.5,) * 30,
        (-0.5,) * 30,
    )
    trace = Trace(task.task_id, 0, "agent", "agent", (asked, spoken), Outcome.OK, score=Score(1.0, {}, "right"))
    return replace(Episode(f"{task.task_id}/0", task, 0, (trace,)), answer="2")
