"""The tasks of a corpus directory as a source; their worlds lie beside them and move with the folder."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evolvent.codec import encode, from_json, locate
from evolvent.envs.databases import Databases
from evolvent.envs.databases.corpus import CORPUS, WORLDS
from evolvent.envs.databases.named import KEY
from evolvent.errors import BadInput
from evolvent.records import Task
from evolvent.store.atomic import whole_lines

TASKS = "tasks.jsonl"


@dataclass(frozen=True)
class StoredTasks:
    """The tasks that `evolvent synth tasks` wrote into a folder; play them in `Databases()`."""

    folder: str

    @property
    def families(self) -> tuple[str, ...]:
        """The families that stand in the file."""
        return tuple(sorted({family for family, _, _ in self._cells()}))

    def levels(self, family: str) -> tuple[int, ...]:
        """Levels of a family, lowest first."""
        return tuple(sorted({level for name, level, _ in self._cells() if name == family}))

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """How many tasks a cell holds."""
        return len(self._cells().get((family, level, split), ()))

    def task(self, family: str, level: int, index: int, split: str = "train") -> Task:
        """Task `index` of a cell, in the order of the file."""
        found = self._cells().get((family, level, split), ())
        if not 0 <= index < len(found):
            raise BadInput(
                f"no task {index} in {family}:{level}, split {split}",
                where=self.folder,
                wanted=f"0 to {len(found) - 1}" if found else "a cell with tasks",
            )
        return rooted(found[index], Path(self.folder))

    def _cells(self) -> Mapping[tuple[str, int, str], tuple[Task, ...]]:
        path = Path(self.folder) / TASKS
        if not path.is_file():
            raise BadInput("no tasks here", where=str(path), cure="evolvent synth tasks out=FOLDER writes some")
        stat = path.stat()
        return _cells(str(path), stat.st_mtime_ns, stat.st_size)


def subject_of_folder(folder: Path) -> dict[str, Any]:
    """Source and world of a corpus directory, for `evolvent check`."""
    if (folder / "tasks").is_dir():
        return dict(locate("evolvent.synthesis.harbor:subject_of_folder")(folder / "tasks"))
    if not (folder / TASKS).is_file():
        raise BadInput(
            "a corpus of worlds has no tasks to check",
            where=str(folder / CORPUS),
            cure=f"evolvent synth tasks from={folder} out=FOLDER, and check that FOLDER",
        )
    return {"source": StoredTasks(str(folder)), "world": Databases()}


def relative(task: Task, world: str) -> Task:
    """The task with its world named by its place in the corpus."""
    return _with_folder(task, f"{WORLDS}/{world}")


def rooted(task: Task, folder: Path) -> Task:
    """The task with its world named by an absolute path."""
    if task.private is None or KEY not in task.private.data:
        return task
    place = task.private.data[KEY]["arguments"]["folder"]
    return _with_folder(task, str((folder / place).absolute()))


def task_line(task: Task) -> str:
    """A task as one line of JSON."""
    return json.dumps(encode(task), ensure_ascii=True, allow_nan=False)


def _with_folder(task: Task, folder: str) -> Task:
    assert task.private is not None
    world = {**task.private.data[KEY], "arguments": {**task.private.data[KEY]["arguments"], "folder": folder}}
    return replace(task, private=replace(task.private, data={**task.private.data, KEY: world}))


@functools.lru_cache(maxsize=8)
def _cells(path: str, mtime_ns: int, num_bytes: int) -> Mapping[tuple[str, int, str], tuple[Task, ...]]:
    cells: dict[tuple[str, int, str], list[Task]] = {}
    for number, line in enumerate(whole_lines(Path(path))[0], 1):
        try:
            task = from_json(line)
        except BadInput as error:
            raise BadInput(f"no task: {error.what}", where=f"{path}, line {number}", got=line[:80]) from error
        if not isinstance(task, Task):
            raise BadInput("no task", where=f"{path}, line {number}", got=line[:80], wanted="a Task")
        cells.setdefault((task.family, task.level, task.split), []).append(task)
    return {cell: tuple(tasks) for cell, tasks in cells.items()}
