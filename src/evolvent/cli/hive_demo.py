"""`evolvent hive demo`: a hub, its workers, three searchers, a live page, and what they reached, verified."""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolvent.cli.hive_board import print_board
from evolvent.cli.hive_progress import decision
from evolvent.cli.hive_serve import (
    alone,
    build_app,
    ended,
    find_task,
    keep_keys,
    number,
    open_home,
    open_tasks,
    start_workers,
    whole,
)
from evolvent.cli.main import Command, refuse_fields
from evolvent.cli.screen import Screen
from evolvent.cli.words import one_line
from evolvent.errors import BadInput, EvolventError, InfrastructureError, MissingExtra

if TYPE_CHECKING:
    from evolvent.hive.agents.client import HubClient

FIELDS = ("home", "task", "seconds", "workers", "agents")
AGENTS = ("hill_climb", "crossover", "tpe")
SECONDS, WAIT_S, DRAIN_S = 150.0, 60.0, 120.0


def main(command: Command, words: tuple[str, ...]) -> dict[str, Any]:
    """Run it; Ctrl-C ends the search early and still measures what was reached."""
    from evolvent.serve.door import background

    if words:
        raise BadInput("demo takes fields alone", where="evolvent hive demo", got=words[0], wanted="seconds=150")
    refuse_fields(command, FIELDS)
    fields, screen = command.fields, Screen(as_json=command.json)
    task, start_s = fields.get("task", "golf"), time.monotonic()
    task_name = check_demo(fields, task)
    home = fields.get("home") or tempfile.mkdtemp(prefix="evolvent-hive-")
    hub = open_home({"home": home})
    started: list[subprocess.Popen[bytes]] = []
    port = 0 if command.port == 8000 else command.port
    with alone(hub), background(build_app(hub), port=port) as url, ended(started):
        keys = keep_keys(hub)
        open_tasks(hub, [task], screen)
        screen.console.print(f"page     {url}/tasks/{task_name}  (live)", markup=False, soft_wrap=True)
        started.extend(start_workers(hub, url, whole(fields, "workers", 2)))
        answer = search(screen, url, (task_name, keys["admin"].read_text().strip()), command, Path(home))
    took_s = time.monotonic() - start_s
    screen.console.print(
        f"took {took_s:.0f} s; all of it is kept: evolvent hive serve home={home}", markup=False, soft_wrap=True
    )
    return {"task": task_name, "home": home, "seconds": took_s, **answer}


def check_demo(fields: Mapping[str, str], task: str) -> str:
    """The name of the task, if all can be had that is needed; without a sandbox nothing can be measured."""
    from evolvent.envs.sandbox import best
    from evolvent.hive.agents.search_proposer import build_searcher
    from evolvent.hive.agents.worktree import check_git

    found = find_task(task, 0)
    number(fields, "seconds", SECONDS)
    whole(fields, "workers", 2)
    if not kinds_of(fields):
        raise BadInput("nobody would search", where="agents", got=fields["agents"], wanted=",".join(AGENTS))
    for kind in kinds_of(fields):
        with suppress(MissingExtra):
            build_searcher(kind)
    check_git()
    best()
    return str(found.name)


def kinds_of(fields: Mapping[str, str]) -> list[str]:
    """The searchers by name."""
    return [kind for kind in fields.get("agents", ",".join(AGENTS)).split(",") if kind]


def search(screen: Screen, url: str, what: tuple[str, str], command: Command, home: Path) -> dict[str, Any]:
    """Let the agents work, and then the best runs see the hold-out."""
    from evolvent.hive.agents.calls import Call
    from evolvent.hive.agents.client import HubClient

    task, key = what
    with HubClient(url, user_key=key) as client:
        until = time.monotonic() + WAIT_S
        while client.task(task)["best_score"] is None:
            if time.monotonic() > until:
                raise InfrastructureError("the baseline was not measured", where=task, cure="evolvent doctor")
            time.sleep(0.2)
        screen.say(f"start    {client.task(task)['best_score']:.5g}  the baseline, measured by the hub")
        stop = threading.Event()
        kinds = kinds_of(command.fields)
        agents = [_start(screen, url, (task, kind, i), command.seed or 0, (home, stop)) for i, kind in enumerate(kinds)]
        try:
            end_s = time.monotonic() + number(command.fields, "seconds", SECONDS)
            while time.monotonic() < end_s and any(agent.is_alive() for agent in agents):
                time.sleep(0.2)
        except KeyboardInterrupt:
            screen.say("stopped: what was reached is still measured")
        stop.set()
        for agent in agents:
            agent.join()
        _drain(client)
        client.calls.ask(Call("POST", f"/tasks/{task}/holdout"))
        _drain(client)
        return conclude(screen, client, task)


def conclude(screen: Screen, client: HubClient, task: str) -> dict[str, Any]:
    """The table, and the gain of the best over the baseline on the hold-out, which no agent ever saw a number of."""
    from evolvent.hive.shrink import interval

    told, rows = client.task(task), client.leaderboard(task, per_page=10)["rows"]
    screen.say("")
    print_board(screen, told, rows)
    best, first = client.run(task, told["best_sha"]), client.run(task, told["base_sha"])
    pair = [(one["holdout"] or {}).get("numbers") for one in (best, first)]
    if not all(pair):
        return {"best": best["verified_score"], "baseline": first["verified_score"]}
    gain = interval([new - old for new, old in zip(*pair, strict=True)])
    line = (
        f"verified {told['metric']}: {first['holdout']['value']:.4g} -> {best['holdout']['value']:.4g} on the hold-out"
    )
    line += f", {gain.value:+.4g} [{gain.low:+.4g}, {gain.high:+.4g}] over {gain.num} seeds"
    line += f"; {told['stats']['total_runs'] - 1} runs, {told['improvements'] - 1} kept improvements"
    screen.console.print("\n" + line, markup=False, soft_wrap=True)
    lineage = _follow(client, task, best)
    screen.console.print("lineage  " + "  ->  ".join(lineage), markup=False, soft_wrap=True)
    return {
        "baseline": first["holdout"],
        "best": best["holdout"],
        "gain": [gain.value, gain.low, gain.high],
        "runs": told["stats"]["total_runs"] - 1,
        "improvements": told["improvements"] - 1,
        "lineage": lineage,
    }


def _start(
    screen: Screen, url: str, what: tuple[str, str, int], seed: int, where: tuple[Path, threading.Event]
) -> threading.Thread:
    """An agent at work in a thread of its own; without optuna another hill climber takes its place."""
    from evolvent.hive.agents.client import HubClient
    from evolvent.hive.agents.join import Member
    from evolvent.hive.agents.search_proposer import build_searcher
    from evolvent.hive.agents.terms import How

    task, kind, i = what
    home, stop = where
    try:
        proposer = build_searcher(kind)
    except MissingExtra as error:
        screen.console.print(f"no {kind}: {error.what}; a hill climber takes its place", markup=False, soft_wrap=True)
        kind, proposer = "hill_climb", build_searcher("hill_climb")
    with HubClient(url) as client:
        made = client.register(f"{kind.replace('_', '-')}-{i + 1}")

    def tell(what: str, facts: Mapping[str, Any]) -> None:
        if what == "result":
            screen.console.print(_line(made["id"], facts), markup=False, soft_wrap=True)

    member = Member(
        HubClient(url, token=made["token"]), made["id"], task, home / "agents" / made["id"], proposer,
        How(seed=seed + i, tell=tell),
    )  # fmt: skip

    def run() -> None:
        try:
            member.run(stop)
        except EvolventError as error:
            screen.console.print(f"{made['id']} ended: {error}", markup=False, soft_wrap=True)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def _line(agent: str, facts: Mapping[str, Any]) -> str:
    run, task = facts["run"], facts["task"]
    value = f"{run['verified_score']:.5g}" if run["verified"] else "-"
    what = one_line(run["tldr"] if run["verified"] else run["why"], 60)
    best = f"best {task['best_score']:.5g}"
    return f"{run['number']:>5}  {agent:<14} {value:<8} {decision(run, task):<9} {best:<12} {what}"


def _drain(client: HubClient) -> None:
    """Wait until nothing is left to measure."""
    from evolvent.hive.agents.calls import Call

    until = time.monotonic() + DRAIN_S
    while time.monotonic() < until:
        jobs = client.calls.ask(Call("GET", "work/jobs"))
        if not jobs.get("waiting", 0) + jobs.get("leased", 0):
            return
        time.sleep(0.2)


def _follow(client: HubClient, task: str, run: Mapping[str, Any]) -> list[str]:
    """From the baseline to a run: who made each step."""
    chain = [run]
    while chain[-1]["parent_id"]:
        chain.append(client.run(task, chain[-1]["parent_id"]))
    return [
        f"{one['agent_id']} {one['verified_score']:.4g}" if one["verified"] else one["agent_id"] for one in chain[::-1]
    ]
