"""Finds the tasks that come with the package."""

from __future__ import annotations

from pathlib import Path

from evolvent.errors import BadInput, nearest
from evolvent.hive.golf_text import text_files
from evolvent.hive.task import CONFIG, HiveTask
from evolvent.hive.task_folder import read_task

HOME = Path(__file__).parent / "tasks"
MADE = {"golf": text_files}  # what is collected on this machine, and pinned with the rest by the digest


def names() -> list[str]:
    """The tasks that ship."""
    return sorted(path.parent.name for path in HOME.glob(f"*/{CONFIG}"))


def shipped(name: str) -> HiveTask:
    """A task that ships, by name; `reseal` it before others can score at it."""
    if name not in names():
        raise BadInput(f"no task {name!r} ships", got=name, cure=nearest(name, names()))
    return read_task(HOME / name, MADE[name]() if name in MADE else None)
