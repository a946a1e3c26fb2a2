"""The hub under load beside the public server: the same rows, the same requests, by turns, on the same cores.

Both hold 10,000 runs of 100 agents at one task whose scores are official, and 2,000 posts more with comments and votes.
The public server runs on PostgreSQL, as its documentation starts it; ours on SQLite and on the same PostgreSQL. Each
client asks again as soon as it was answered. `mixed` is 90 % reading and 10 % submitting, posting and voting; `default`
is submitting beside a task as the public server makes one by default, which ranks what agents claim.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.hive_asking import Asking, differences, read
from bench.hive_load import Load, Window, ceiling
from bench.hive_ours import check_counters, fill_hub, push_commits, serve_ours, tell_ours
from bench.hive_peer import VERSION, Served, fill_peer, install_peer, rank_claims, serve_peer
from bench.hive_postgres import Postgres, postgres
from bench.hive_world import TASK, Scale, World, draw_world
from bench.rows import Row, alone, compared, say

WINDOW_S, WARM_S = 1.5, 0.2
NUM_FRESH = 700  # commits of an agent that are there to be submitted
TARGET = 3.0
WORDS = {
    "context": "context in one call", "leaderboard": "leaderboard, 20 runs", "feed": "feed, 50 entries",
    "submit": "submit", "mixed": "mixed, 10 % writes", "default": "submit, theirs by claims",
}  # fmt: skip


def cases(full: bool) -> list[dict[str, Any]]:
    """All rows in one case, since starting the servers takes as long as a row; more workers in the full grid."""
    every = {"database": "sqlite+postgres", "clients": "1+16+64", "asked": "+".join(WORDS)}
    return [{**every, "workers": workers} for workers in ((1, 2, 16) if full else (1,))]


def measure(database: str, clients: str, asked: str, workers: int, pairs: int = 3) -> list[Row]:
    """A row for each kind of request, number of clients and database of ours."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="evolvent-hive-")))
        stage = _start(stack, home, database.split("+"), workers)
        rows = [_alone(stage)]
        for what in asked.split("+"):
            for num_clients in clients.split("+"):
                rows += _measure(stage, what, int(num_clients), pairs)
        _check_kept(stage)
    return rows


@dataclass
class Side:
    """A server that runs, what is asked of it, and by kind of request in what its answers differ."""

    name: str
    served: Served
    asking: Asking
    unlike: dict[str, str] = field(default_factory=dict)


@dataclass
class Stage:
    """The public server first, then ours; and what they run on."""

    sides: list[Side]
    postgres: Postgres
    url: str  # of the public server's database
    world: World
    facts: dict[str, str]


@dataclass(frozen=True)
class Turn:
    """One window of one server, and the processor time of it and its database."""

    window: Window
    cpu_s: float


def _start(stack: ExitStack, home: Path, databases: Sequence[str], num_workers: int) -> Stage:
    """Fill and start all servers, and compare what they say of the same rows."""
    python, server = install_peer(), stack.enter_context(postgres())
    url = server.make("public")
    facts = {"public": f"{VERSION},workers={num_workers}", "PostgreSQL": server.tell()}
    world: World | None = None
    pushed: list[list[str]] = []
    served: dict[str, Served] = {}
    for name in databases:
        say(f"filling ours on {name}")
        own = None if name == "sqlite" else server.make("ours")
        world, pushed, facts[name] = _fill(home / name, own, world)
        served[name] = stack.enter_context(serve_ours(home / name, own))
    assert world is not None
    say("filling the public server")
    fill_peer(python, url, world)
    served = {"public": stack.enter_context(serve_peer(python, url, num_workers)), **served}
    fresh = [shas[-NUM_FRESH:] for shas in pushed]
    sides = [Side(name, one, Asking(world, fresh)) for name, one in served.items()]
    for side in sides[1:]:
        side.unlike = differences(side.served.address, sides[0].served.address, world)
        for what, words in side.unlike.items():
            say(f"{what} of ours on {side.name} says something else: {words}")
    return Stage(sides, server, url, world, facts)


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


def _measure(stage: Stage, what: str, num_clients: int, pairs: int) -> list[Row]:
    """Windows by turns, all servers a round."""
    turns: dict[str, list[Turn]] = {side.name: [] for side in stage.sides}
    if what == "default":
        rank_claims(stage.url, True)
    for side in stage.sides:
        _turn(stage, side, num_clients, side.asking.reading(what), WARM_S)
    for _ in range(pairs):
        for side in stage.sides:
            turns[side.name].append(_turn(stage, side, num_clients, side.asking.about(what), WINDOW_S))
    if what == "default":
        rank_claims(stage.url, False)
    theirs = turns[stage.sides[0].name]
    return [_row(side, what, num_clients, turns[side.name], theirs) for side in stage.sides[1:]]


def _turn(stage: Stage, side: Side, num_clients: int, requests: Iterator[bytes], seconds: float) -> Turn:
    """Fresh connections each time: between its windows a server would close them."""
    load = Load(side.served.address, num_clients)
    before = _cpu_s(side.served.pid) + _cpu_s(stage.postgres.pid)
    window = load.run(requests, seconds)
    spent = _cpu_s(side.served.pid) + _cpu_s(stage.postgres.pid) - before
    load.close()
    if window.refused:
        raise SystemExit(f"{side.name} refused {len(window.refused)} requests: {window.refused[0]!r}")
    return Turn(window, spent)


def _cpu_s(pid: int) -> float:
    """Processor seconds of a process and all that it started."""
    import psutil

    process = psutil.Process(pid)
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        try:
            used = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += used.user + used.system
    return total


def _row(side: Side, what: str, num_clients: int, ours: list[Turn], theirs: list[Turn]) -> Row:
    settings = {"clients": num_clients, "on": side.name}
    settings |= {f"p{share} ms": f"{_latency(ours, share)}/{_latency(theirs, share)}" for share in (50, 99)}
    settings["CPU ms"] = f"{_cpu_ms(ours):.2f}/{_cpu_ms(theirs):.2f}"
    rates = [turn.window.rate for turn in ours], [turn.window.rate for turn in theirs]
    return compared(
        WORDS[what], "public hive", rates, unit="requests/s", same_work=what not in side.unlike, target=TARGET,
        settings=settings, why=side.unlike.get(what, "CPU ms is of server and database, for one request"),
    )  # fmt: skip


def _latency(turns: list[Turn], percent: int) -> str:
    found = sorted(seconds for turn in turns for seconds in turn.window.latencies_s)
    return f"{1000 * found[min(len(found) - 1, len(found) * percent // 100)]:.3g}"


def _cpu_ms(turns: list[Turn]) -> float:
    return 1000 * sum(turn.cpu_s for turn in turns) / sum(len(turn.window.latencies_s) for turn in turns)


def _check_kept(stage: Stage) -> None:
    """Every submission that was answered is there."""
    for side in stage.sides:
        told = read(side.served.address, f"/api/tasks/{TASK}/context")["task"]["stats"]["total_runs"]
        wanted = len(stage.world.runs) + side.asking.num_submitted
        assert told == wanted, f"{side.name} has {told} runs, {wanted} were answered"


def _alone(stage: Stage) -> Row:
    """What the generator does at most, and what runs."""
    rates = [ceiling(num, 10_000, 1.0).rate for num in (1, 16, 64)]
    return alone(
        "generator alone, 10 kB", statistics.median(rates), "requests/s", same_work=True, target=None, why="",
        **stage.facts,
    )  # fmt: skip
