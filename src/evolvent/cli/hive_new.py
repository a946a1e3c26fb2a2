"""`evolvent hive new`: writes a task that works, as a beginning for one's own, and proves the task in a folder."""

from __future__ import annotations

import os
import secrets
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evolvent.cli.main import Command, refuse_fields
from evolvent.cli.screen import Screen
from evolvent.errors import BadInput

WIDE = 100  # columns of a terminal that has room for the longest name of a check
FIELDS = ("name", "metric", "direction")
HELP = """FOLDER is new or empty: a small task that works is written there, and proven. A FOLDER with a task.toml is
only proven, and nothing in it is changed. The exit status is 0 only where every check passed.

keys: name=FOLDER metric=score direction=maximize|minimize"""


def main(command: Command, words: tuple[str, ...]) -> dict[str, Any]:
    """Write what is not there yet, try the task, and say what came out."""
    from evolvent.hive.scaffold import is_task

    refuse_fields(command, FIELDS)
    folder, screen = _one_folder(words), Screen(as_json=command.json)
    written = [] if is_task(folder) else write(folder, command)
    if command.fields and not written:
        key = next(iter(command.fields))
        raise BadInput(
            f"{key}= has no effect on a task that is there already",
            where="evolvent hive new",
            got=f"{key}={command.fields[key]}",
            cure=f"change task.toml in {words[0]}, or name a new folder",
        )
    for path in written:
        screen.console.print(f"written  {folder / path}", markup=False, soft_wrap=True)
    answer = {"folder": str(folder), "written": written, **prove(folder, screen)}
    show(screen, answer, words[0])
    return answer if answer["holds"] else {**answer, "exit": 1}


def write(folder: Path, command: Command) -> list[str]:
    """The files of a new task."""
    from evolvent.hive.scaffold import Wish, name_after, write_starter

    wish = Wish(
        name=command.fields.get("name", name_after(folder)),
        metric=command.fields.get("metric", "score"),
        direction=command.fields.get("direction", "maximize"),
        secret=secrets.randbits(62) if command.seed is None else command.seed,
    )
    return write_starter(folder, wish)


def prove(folder: Path, screen: Screen) -> dict[str, Any]:
    """Every check of the task in a folder."""
    from evolvent.hive.scaffold import try_task
    from evolvent.hive.sealed import Bench
    from evolvent.hive.task_folder import Shelf, read_task

    task = read_task(folder)
    with (
        tempfile.TemporaryDirectory(prefix="evolvent-shelf-") as shelf,
        screen.console.status(f"proving {task.name}"),
    ):
        checks = try_task(task, Bench(Shelf(shelf)))
    return {
        "name": task.name,
        "metric": task.metric,
        "direction": task.direction.value,
        "digest": task.digest,
        "checks": [{"name": one.name, "passed": one.passed, "seen": one.seen} for one in checks],
        "holds": all(one.passed for one in checks),
    }


def show(screen: Screen, answer: Mapping[str, Any], word: str) -> None:
    """A row for each check, the verdict, and what comes next."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for column in ("check", "", "seen"):
        table.add_column(column, overflow="fold", no_wrap=column != "seen" and screen.console.width >= WIDE)
    for row in answer["checks"]:
        verdict = Text("passed", "green") if row["passed"] else Text("failed", "bold red")
        table.add_row(Text(row["name"]), verdict, Text(row["seen"]))
    screen.console.print(*([""] if answer["written"] else []), table, sep="\n")
    num_failed = sum(not row["passed"] for row in answer["checks"])
    say = f"{num_failed} of {len(answer['checks'])} checks failed" if num_failed else "every check passed"
    about = f"{answer['name']}, {answer['metric']}, {answer['direction']}, {answer['digest'][:12]}"
    screen.console.print(f"\n{say}: {about}", markup=False)
    word = shlex.quote(word)
    if num_failed:
        screen.console.print(f"mend it, and try again: evolvent hive new {word}", markup=False, soft_wrap=True)
        return
    if answer["written"]:
        line = f"next     make it yours, and prove it again: evolvent hive new {word}"
        screen.console.print(line, markup=False, soft_wrap=True)
    line = f"open it  evolvent hive open {word} hub=URL key_file=FILE, or evolvent hive serve tasks={word}"
    screen.console.print(line, markup=False, soft_wrap=True)


def _one_folder(words: tuple[str, ...]) -> Path:
    if len(words) != 1:
        raise BadInput(
            "one folder is asked for",
            where="evolvent hive new",
            got=" ".join(words) or "nothing",
            wanted="evolvent hive new FOLDER [name=... metric=... direction=maximize|minimize]",
        )
    return Path(os.path.normpath(Path(words[0]).expanduser().absolute()))
