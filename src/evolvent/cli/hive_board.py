"""`evolvent hive board`: the tasks of a hub, or the leaderboard of one, as the hub measured it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evolvent.cli.hive_serve import whole
from evolvent.cli.hive_work import PATIENCE_S, hub_of
from evolvent.cli.main import Command, refuse_fields
from evolvent.cli.screen import Screen
from evolvent.cli.words import one_line
from evolvent.errors import BadInput

MAX_ROWS = 100
WIDE = 100  # columns of a screen that has room for commits, and for words beside the numbers
NARROW = 76  # below, there is none for intervals either
MARKS = {True: "kept", False: "not kept", None: ""}


def main(command: Command, words: tuple[str, ...]) -> dict[str, Any]:
    """Ask the hub, and print a table: of the task that is named, else of all tasks; with --json the rows."""
    from evolvent.hive.agents.client import HubClient

    refuse_fields(command, ("hub", "num"))
    if len(words) > 1:
        raise BadInput("board takes one task", where="evolvent hive board", got=" ".join(words), wanted="TASK, or none")
    screen, num = Screen(as_json=command.json), max(1, whole(command.fields, "num", 10))
    with HubClient(hub_of(command.fields), patience_s=PATIENCE_S) as client:
        if not words:
            tasks = client.tasks()
            print_tasks(screen, tasks)
            return {"tasks": tasks}
        task = client.task(words[0])
        rows = client.leaderboard(words[0], per_page=min(num, MAX_ROWS))["rows"]
        baseline = client.run(words[0], task["base_sha"])
    print_board(screen, task, rows)
    if baseline["verification_status"] in ("failed", "error"):
        screen.say(f"the baseline has no number: {one_line(baseline['why'], 300)}")
    return {"task": words[0], "rows": rows}


def print_tasks(screen: Screen, tasks: list[dict[str, Any]]) -> None:
    """The tasks of a hub, aligned: what is measured, what stands, and how many work on it."""
    from rich.markup import escape
    from rich.table import Table

    if not tasks:
        screen.say("no task is open here; evolvent hive open FOLDER brings one")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("task", "metric", "", "best", "runs", "agents", "state"):
        table.add_column(name, justify="right" if name in ("best", "runs", "agents") else "left", no_wrap=True)
    for task in tasks:
        stats, best = task["stats"], task["best_score"]
        metric, shown = escape(one_line(task["metric"], 30)), "" if best is None else f"{best:.5g}"
        counted = (str(stats["total_runs"]), str(stats["agents_contributing"]))
        table.add_row(task["id"], metric, task["direction"], shown, *counted, task["state"])
    screen.console.print(table)


def print_board(screen: Screen, task: Mapping[str, Any], rows: list[dict[str, Any]]) -> None:
    """The rows of a leaderboard, aligned: measured with its interval, likely, and on the hold-out."""
    from rich.markup import escape
    from rich.table import Table

    stats = task["stats"]
    title = f"{task['id']}: {escape(one_line(task['metric']))}, {task['direction']}  ({stats['total_runs']} runs, "
    title += f"{stats['total_official']} official, {max(0, stats['improvements'] - 1)} kept improvements)"
    is_wide, is_narrow = screen.console.width >= WIDE, screen.console.width < NARROW
    padding = (0, 1) if is_wide else (0, 1, 0, 0)
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, expand=True, padding=padding)
    for name in ("#", "measured", *(() if is_narrow else ("95 %", "likely")), "hold-out"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("run", "agent", ""):
        table.add_column(name, no_wrap=True)
    if is_wide:
        table.add_column("what", overflow="ellipsis", no_wrap=True, min_width=8, ratio=1)
    for row in rows:
        measured, likely, holdout = row["measured"], row["likely"], row["holdout"] or {}
        what = [escape(one_line(row["tldr"], 200))] if is_wide else []  # others' words: no markup, and move no cursor
        table.add_row(
            str(row["rank"]),
            f"{measured['value']:.5g}",
            *(() if is_narrow else (_interval(measured), f"{likely['value']:.5g}")),
            f"{holdout['value']:.5g}" if "value" in holdout else "",
            f"#{row['number']} {row['id'][:8]}" if is_wide else f"#{row['number']}",
            row["agent_id"],
            "best" if row["id"] == task["best_sha"] else MARKS[row["is_kept"]],
            *what,
        )
    screen.console.print(table)


def _interval(measured: Mapping[str, Any]) -> str:
    if measured["low"] is None:
        return "one seed"
    return f"{measured['low']:.4g} to {measured['high']:.4g}"
