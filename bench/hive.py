"""The hub under load beside the public server: the same rows, the same requests, by turns, on the same two cores.

Both hold 10,000 runs of 100 agents at one task whose scores are official, and 2,000 posts more with comments and votes.
The public server runs on PostgreSQL, as its documentation starts it; ours on SQLite and on the same PostgreSQL. Each
client asks again as soon as it was answered. `mixed` is 90 % reading and 10 % submitting, posting and voting.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.hive_asking import Asking, differences, read
from bench.hive_load import Load, Window, ceiling
from bench.hive_ours import check_counters, fill_hub, push_commits, serve_ours, tell_ours
from bench.hive_peer import VERSION, fill_peer, install_peer, serve_peer
from bench.hive_postgres import postgres, tell_settings
from bench.hive_world import TASK, Scale, World, draw_world
from bench.rows import Row, alone, compared, say

WINDOW_S, WARM_S = 1.5, 0.2
NUM_FRESH = 700  # commits of an agent that are there to be submitted
TARGET = 3.0
WORDS = {
    "context": "context in one call", "leaderboard": "leaderboard, 20 runs", "feed": "feed, 50 entries",
    "submit": "submit", "mixed": "mixed, 10 % writes",
}  # fmt: skip


def cases(full: bool) -> list[dict[str, Any]]:
    """All rows in one case, since starting the servers takes as long as a row; more workers in the full grid."""
    every = {"database": "sqlite+postgres", "clients": "1+16+64", "asked": "+".join(WORDS)}
    return [{**every, "workers": workers} for workers in ((1, 2, 16) if full else (1,))]


def measure(database: str, clients: str, asked: str, workers: int, pairs: int = 3) -> list[Row]:
    """A row for each kind of request, number of clients and database of ours."""
    with ExitStack() as stack:
        sides, facts = _start(stack, database.split("+"), workers)
        rows = [_alone(facts)]
        for what in asked.split("+"):
            for num_clients in clients.split("+"):
                rows += _measure(sides, what, int(num_clients), pairs, workers)
        _check_kept(sides)
    return rows


@dataclass
class Side:
    """A server that runs: what it is called, where it listens, what is asked of it."""

    name: str
    address: tuple[str, int]
    asking: Asking
    same: dict[str, str]
    num_kept: int = 0


def _start(stack: ExitStack, databases: Sequence[str], num_workers: int) -> tuple[list[Side], dict[str, str]]:
    """The public server first, then ours; all hold the same rows, and were compared."""
    python = install_peer()
    make = stack.enter_context(postgres())
    home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="evolvent-hive-")))
    url = make("public")
    facts = {"public": f"hive-evolve {VERSION}, {num_workers} uvicorn worker(s)", "postgres": tell_settings(url)}
    world: World | None = None
    pushed: list[list[str]] = []
    addresses: dict[str, tuple[str, int]] = {}
    for name in databases:
        say(f"filling ours on {name}")
        own = None if name == "sqlite" else make("ours")
        world, pushed, facts[f"ours on {name}"] = _fill(home / name, own, world)
        addresses[name] = stack.enter_context(serve_ours(home / name, own))
    assert world is not None
    say("filling the public server")
    fill_peer(python, url, world)
    addresses = {"public": stack.enter_context(serve_peer(python, url, num_workers)), **addresses}
    fresh = [shas[-NUM_FRESH:] for shas in pushed]
    sides = [Side(name, where, Asking(world, fresh), {}) for name, where in addresses.items()]
    for side in sides[1:]:
        side.same = differences(side.address, sides[0].address, world)
        for what, words in side.same.items():
            say(f"{what} of ours on {side.name} is another: {words}")
    for side in sides:
        side.num_kept = len(world.runs)
    return sides, facts


def _fill(home: Path, url: str | None, world: World | None) -> tuple[World, list[list[str]], str]:
    from evolvent.hive.hub.hub import open_hub
    from evolvent.hive.hub.tasks import open_task
    from evolvent.hive.shipped import shipped

    hub, scale = open_hub(home, url), Scale()
    open_task(hub, shipped(TASK))
    names = [f"agent-{i:03d}" for i in range(scale.num_agents)]
    pushed = push_commits(hub, names, scale.num_runs // scale.num_agents + NUM_FRESH)
    world = world or draw_world(scale, pushed)
    assert world.names == tuple(names) and world.runs[-1].sha in pushed[world.runs[-1].agent]
    fill_hub(hub, world, pushed)
    check_counters(hub)
    told = tell_ours(hub)
    hub.close()
    return world, pushed, told


def _measure(sides: list[Side], what: str, num_clients: int, pairs: int, workers: int) -> list[Row]:
    """Windows by turns, all servers a round."""
    windows: dict[str, list[Window]] = {side.name: [] for side in sides}
    for side in sides:
        _window(side, num_clients, side.asking.reading(what), WARM_S)
    for _ in range(pairs):
        for side in sides:
            windows[side.name].append(_window(side, num_clients, side.asking.about(what), WINDOW_S))
    theirs = windows[sides[0].name]
    return [_row(side, what, num_clients, windows[side.name], theirs, workers) for side in sides[1:]]


def _window(side: Side, num_clients: int, requests: Iterator[bytes], seconds: float) -> Window:
    """Fresh connections each time: between its windows a server would close them."""
    load = Load(side.address, num_clients)
    window = load.run(requests, seconds)
    load.close()
    if window.refused:
        raise SystemExit(f"{side.name} refused {len(window.refused)} requests: {window.refused[0]!r}")
    return window


def _row(side: Side, what: str, num_clients: int, ours: list[Window], theirs: list[Window], workers: int) -> Row:
    settings = {
        "clients": num_clients, "ours on": side.name,
        "p50 ms": f"{_latency(ours, 0.5)}/{_latency(theirs, 0.5)}",
        "p99 ms": f"{_latency(ours, 0.99)}/{_latency(theirs, 0.99)}", "workers": workers,
    }  # fmt: skip
    rates = [window.rate for window in ours], [window.rate for window in theirs]
    return compared(
        WORDS[what], "public hive", rates, unit="requests/s", same_work=what not in side.same, target=TARGET,
        settings=settings, why=side.same.get(what, "the processor is full on both sides"),
    )  # fmt: skip


def _latency(windows: list[Window], share: float) -> str:
    found = sorted(seconds for window in windows for seconds in window.latencies_s)
    return f"{1000 * found[min(len(found) - 1, int(share * len(found)))]:.3g}"


def _check_kept(sides: list[Side]) -> None:
    """Every submission that was answered is there."""
    for side in sides:
        told = read(side.address, f"/api/tasks/{TASK}/context")["task"]["stats"]["total_runs"]
        wanted = side.num_kept + side.asking.num_submitted
        assert told == wanted, f"{side.name} has {told} runs, {wanted} were answered"


def _alone(facts: dict[str, str]) -> Row:
    """What the generator does at most, and what runs."""
    rates = [ceiling(num, 10_000, 1.0).rate for num in (1, 16, 64)]
    return alone(
        "generator alone, 16 clients, 10 kB", statistics.median(rates), "requests/s", same_work=True, target=None,
        why="", **facts,
    )  # fmt: skip
