"""The world that a task names, as the world of a plan: many databases, one part."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evolvent.envs.databases.live import OpenDatabase
from evolvent.envs.databases.records import Database
from evolvent.errors import BadInput
from evolvent.records import Reference, Task

KEY = "world"


@dataclass(frozen=True)
class Databases:
    """Opens the database that a task's private part names by reference, under the key `world`."""

    def open(self, task: Task, seed: int) -> OpenDatabase:
        """A private copy of the task's own database."""
        return world_of(task).open(task, seed)


def world_of(task: Task) -> Database:
    """The database that a task is about."""
    if task.private is None or KEY not in task.private.data:
        raise BadInput(
            "the task names no database",
            where=task.task_id,
            wanted=f"private.data[{KEY!r}] = path and arguments of a function that gives one",
            cure="use a source of world tasks, such as evolvent.synthesis.world_tasks:WorldTasks",
        )
    named = task.private.data[KEY]
    return _loaded(named["path"], json.dumps(named.get("arguments", {}), sort_keys=True))


def name_world(reference: Reference) -> Mapping[str, Any]:
    """What goes into a task's private data."""
    return {KEY: {"path": reference.path, "arguments": dict(reference.arguments)}}


@functools.lru_cache(maxsize=512)
def _loaded(path: str, arguments: str) -> Database:
    found = Reference(path, json.loads(arguments)).load()()
    if not isinstance(found, Database):
        raise BadInput("this is no database", where=path, got=type(found).__name__, wanted="a Database")
    return found
