"""Harbor task folders as a source of tasks for the world `Shell`, and the proof that they are sound."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolvent.envs.shell import Shell
from evolvent.envs.shell_image import room_of, told_briefly
from evolvent.errors import BadInput, nearest
from evolvent.records import Reference, Task
from evolvent.rollouts.workflows import tool_loop
from evolvent.synthesis.terminal.proof import Asked, CheckRow, Proof, prove, validate
from evolvent.synthesis.terminal_tasks import as_task, cell_of
from evolvent.tasks.formats.harbor import HarborTask, read_task, task_folders
from evolvent.tasks.procedural import split_of

__all__ = ["Asked", "CheckRow", "HarborTasks", "Proof", "prove", "subject_of_folder", "validate"]

READER = "evolvent.tasks.formats.harbor:read_task"


@dataclass(frozen=True)
class HarborTasks:
    """The tasks of a folder, or of all task folders below it, that a sandbox here can hold.

    What task.toml says under [metadata] is used where it is there: family (else category), level (else difficulty) and
    split. A task that has changed on disk since it was read is refused when it is opened.
    """

    folder: str

    @property
    def families(self) -> tuple[str, ...]:
        """The kinds of task that are there."""
        return tuple(dict.fromkeys(family for family, _, _ in self._cells))

    @property
    def refused(self) -> Mapping[str, str]:
        """Why tasks that are there are not played, by folder."""
        return _index(self.folder)[1]

    def levels(self, family: str) -> tuple[int, ...]:
        """The levels of a family."""
        found = sorted({level for name, level, _ in self._cells if name == family})
        if not found:
            raise BadInput("no such family here", got=family, cure=nearest(family, list(self.families)))
        return tuple(found)

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """How many tasks a cell holds."""
        return len(self._cells.get((family, level, split), ()))

    def task(self, family: str, level: int, index: int, split: str = "train") -> Task:
        """Task `index` of a cell, in the order of the names of the folders."""
        held = self._cells.get((family, level, split), ())
        if not 0 <= index < len(held):
            raise BadInput(
                "no such task", where=f"{family}:{level}, {split}", got=index, wanted=f"0 to {len(held) - 1}"
            )
        path, digest = held[index]
        return as_task(_read(path, digest), Reference(READER, {"folder": path, "digest": digest}), split)

    @property
    def _cells(self) -> Mapping[tuple[str, int, str], list[tuple[str, str]]]:
        return _index(self.folder)[0]


def subject_of_folder(path: Path) -> dict[str, Any]:
    """The source of a folder, the world that its tasks are played in, and how."""
    return {"source": HarborTasks(str(path)), "world": Shell(), "workflow": tool_loop}


@functools.lru_cache(maxsize=16)
def _index(folder: str) -> tuple[dict[tuple[str, int, str], list[tuple[str, str]]], dict[str, str]]:
    """Paths and digests by (family, level, split), and why the others are left out."""
    cells: dict[tuple[str, int, str], list[tuple[str, str]]] = {}
    refused = {}
    for path in task_folders(folder):
        try:
            task = read_task(path)
            room_of(task)
            if task.steps:
                raise BadInput("a task of several steps is not played here")  # noqa: TRY301
        except BadInput as error:
            refused[str(path)] = told_briefly(error)
            continue
        cells.setdefault(_cell(task), []).append((str(path), task.digest))
    if not cells:
        first = next(iter(refused.items()))
        raise BadInput(
            "none of these tasks can be played in our sandbox",
            where=folder,
            got=f"{first[0]}: {first[1]}",
            wanted='network_mode = "no-network" and files below /app on a debian, ubuntu or python image',
            cure="play them with Harbor itself, in containers",
        )
    return cells, refused


def _cell(task: HarborTask) -> tuple[str, int, str]:
    family, level = cell_of(task)
    split = task.metadata.get("split")
    return family, level, split if split in ("train", "test") else split_of(family, task.name)


@functools.lru_cache(maxsize=256)
def _read(path: str, digest: str) -> HarborTask:
    return read_task(path, digest)
