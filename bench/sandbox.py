"""Calls of sandboxed code, in every tier that works here, beside a plain interpreter and an exec in a container."""

from __future__ import annotations

import importlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from bench.rows import Row, Side, compared, in_turn, say

CODE, SAID = "print(6 * 7)", "42\n"
PLAIN, EXEC = "subprocess", "container exec"
ROUNDS, PLAIN_CALLS, EXEC_CALLS = 7, 20, 3
NUM_CALLS = {"one-shot": 40, "session": 200}
SLOW_CALLS = {"one-shot": 2, "session": 40}  # of a tier that starts a container for every call
WHY = "both print the same; a plain interpreter isolates nothing"


def cases(full: bool) -> list[dict[str, Any]]:
    """Both kinds of calls, for every tier; one that does not work here has no rows."""
    from evolvent.envs.sandbox.choose import TIERS

    return [{"tier": tier, "kind": kind, "rounds": ROUNDS} for tier in TIERS for kind in NUM_CALLS]


def measure(tier: str, kind: str, rounds: int) -> list[Row]:
    """Rows of one tier: against a plain interpreter, and against an exec in a running container where there is one."""
    from evolvent.envs.sandbox.choose import probe_all

    found = probe_all()
    if found[tier]:
        say(f"sandbox: no row for {tier}: {found[tier]}")
        return []
    with ExitStack() as stack:
        sandbox = importlib.import_module(f"evolvent.envs.sandbox.{tier}").open_()
        stack.callback(sandbox.close)
        ours = stack.enter_context(sandbox.session()).run if kind == "session" else sandbox.run
        num_calls = (SLOW_CALLS if tier == "container" else NUM_CALLS)[kind]
        sides = [(tier, lambda: ours(CODE).stdout, num_calls), (PLAIN, _plain, PLAIN_CALLS)]
        if not found["container"]:
            sides.append((EXEC, _exec_in(stack), EXEC_CALLS))
        return _rows(tier, kind, sides, rounds)


def _rows(tier: str, kind: str, sides: Sequence[tuple[str, Callable[[], str], int]], rounds: int) -> list[Row]:
    taken: dict[str, list[float]] = {name: [] for name, _, _ in sides}
    is_same = all(call() == SAID for _, call, _ in sides)  # warms them up, too
    turns = in_turn([Side(_repeated(call, num, taken[name])) for name, call, num in sides], rounds)
    rows = []
    for (peer, _, _), rates in list(zip(sides, turns.rates, strict=True))[1:]:
        mine, theirs = _shown(taken[tier]), _shown(taken[peer])
        settings = {"p50/p99 ms": mine, "theirs": theirs}
        target = 0.0 if tier == "container" else 1.0
        rows.append(
            compared(
                f"sandbox, {tier}, {kind}", peer, (turns.rates[0], rates), unit="calls/s", same_work=is_same,
                target=target, settings=settings, why=WHY,
            )
        )  # fmt: skip
    return rows


def _repeated(call: Callable[[], str], num_calls: int, taken: list[float]) -> Callable[[], float]:
    def run() -> float:
        for _ in range(num_calls):
            start = time.perf_counter()
            call()
            taken.append(1000 * (time.perf_counter() - start))
        return float(num_calls)

    return run


def _shown(taken: Sequence[float]) -> str:
    """Median and 99th percentile in milliseconds."""
    cuts = statistics.quantiles(taken, n=100, method="inclusive")
    return f"{cuts[49]:.3g}/{cuts[98]:.3g}"


def _plain() -> str:
    made = subprocess.run([sys.executable, "-I", "-S", "-c", CODE], capture_output=True, text=True, check=True)
    return made.stdout


def _exec_in(stack: ExitStack) -> Callable[[], str]:
    """A container that runs for as long as the case, and a command in it for each call."""
    from evolvent.envs.sandbox.container import Box, open_
    from evolvent.envs.sandbox.limits import Limits

    box = stack.enter_context(Box(open_(), Limits()))
    words = [box.sandbox.engine, "exec", box.name, "python3", "-I", "-S", "-c", CODE]
    return lambda: subprocess.run(words, capture_output=True, text=True, check=True).stdout
