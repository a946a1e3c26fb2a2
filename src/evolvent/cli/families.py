"""Checks many families, each in a process that can be ended, and shows a row for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evolvent.cli.screen import Screen
from evolvent.cli.ticks import ticking
from evolvent.codec import from_json, to_json
from evolvent.errors import EvolventError
from evolvent.rewards.workers import Workers
from evolvent.synthesis.trust import CHECKS, Proof, as_plain, examine, find_subject
from evolvent.tasks.procedural import family_names
from evolvent.tasks.reasoning import PREFIX, all_names

ALL = "all"
MORE_S = 120.0  # beyond a proof's own bound, for imports and for the cell that it is in
MARKS = {"passed": ".", "warned": "[yellow]w[/yellow]", "failed": "[bold red]F[/bold red]", "not applicable": " "}


def families_behind(word: str) -> tuple[str, ...]:
    """The families that `all`, `procedural:all` or `reasoning_gym:all` stand for; none for any other word."""
    if word in (ALL, f"procedural:{ALL}"):
        return family_names()
    if word == PREFIX + ALL:
        return tuple(PREFIX + name for name in all_names())
    return ()


def check_families(names: Sequence[str], proof: Proof, screen: Screen) -> dict[str, Any]:
    """A report for each family; one that crashes or hangs takes nothing else with it."""
    in_gym = any(name.startswith(PREFIX) for name in names)
    workers = Workers(1, ("reasoning_gym",) if in_gym else ())
    found: list[dict[str, Any]] = []
    try:
        with ticking(screen, len(names), "proving") as tick:
            for name in names:
                found.append(check_one(name, proof, workers))
                tick()
    finally:
        workers.close()
    show_families(screen, found)
    return {"holds": all(row["holds"] for row in found), "seed": proof.seed, "families": found}


def check_one(name: str, proof: Proof, workers: Workers) -> dict[str, Any]:
    """The report of one family, or what broke."""
    try:
        path = "evolvent.cli.families:examine_named"
        answer: dict[str, Any] = workers.run(path, proof.timeout_s + MORE_S, name=name, proof=to_json(proof))
    except EvolventError as error:
        return {"subject": name, "holds": False, "broke": f"{error.what}: {error.got}"}
    return answer


def examine_named(name: str, proof: str) -> dict[str, Any]:
    """Runs in a worker: the report of one family as JSON values."""
    asked: Proof = from_json(proof)
    return as_plain(examine(find_subject(name, asked.seed).source, asked, name=name))


def show_families(screen: Screen, found: Sequence[Mapping[str, Any]]) -> None:
    """A row for each family, a column for each check."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("family", no_wrap=True, min_width=24)
    for kind in CHECKS:
        table.add_column(kind.name, justify="center")
    for row in found:
        states = {check["name"]: MARKS[check["status"]] for check in row.get("checks", ())}
        table.add_row(row["subject"].removeprefix(PREFIX), *(states.get(kind.name, "?") for kind in CHECKS))
    screen.console.print(table)
    screen.say(". passed, w warned, F failed, ? broke or ran out of time, blank not applicable")
    for row in found:
        if "broke" in row:
            screen.console.print(f"{row['subject']}: {row['broke']}", markup=False)
        elif not row["holds"]:
            failed = [c for c in row["checks"] if c["status"] == "failed"]
            words = "; ".join(f"{c['name']}: {c['examples'][0]['what']}" for c in failed)
            screen.console.print(f"{row['subject']}: {words}", markup=False)
    held = sum(bool(row["holds"]) for row in found)
    screen.say(f"\n[bold]{held} of {len(found)} families hold[/bold]")
