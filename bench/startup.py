"""How long a person waits before anything happens."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.inputs import scratch
from bench.rows import Row, alone

TARGETS = {"help": 0.5, "first rollout": 10.0}


def cases(full: bool) -> list[dict[str, Any]]:
    """The help text, and a run up to its first rollout."""
    return [{"what": what} for what in TARGETS]


def measure(what: str) -> list[Row]:
    """Median of five (help) or three (run)."""
    seconds = [_help() if what == "help" else _first_rollout() for _ in range(5 if what == "help" else 3)]
    name = "start-up, evolvent --help" if what == "help" else "start-up, evolvent run to the first rollout"
    return [alone(name, statistics.median(seconds), "s", same_work=True, target=TARGETS[what], why="target: below")]


def _evolvent(*words: str) -> list[str]:
    return [str(Path(sys.executable).with_name("evolvent")), *words]


def _help() -> float:
    start = time.perf_counter()
    subprocess.run(_evolvent("--help"), check=True, capture_output=True)
    return time.perf_counter() - start


def _first_rollout() -> float:
    """From the command to the first line of metrics of a run without a cold start."""
    out = scratch() / "run"
    start = time.perf_counter()
    words = [
        "run",
        "cold_start=null",
        "num_steps=1",
        "suite.num_tasks=1",
        "suite.num_tasks_above=1",
        "suite.num_levels=1",
        f"out={out}",
    ]
    process = subprocess.Popen(_evolvent(*words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not (out / "metrics.jsonl").exists() and process.poll() is None:
            time.sleep(0.01)
        return time.perf_counter() - start
    finally:
        process.kill()
        process.wait()
