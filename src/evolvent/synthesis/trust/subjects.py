"""From the words of a command to what must prove itself: a source, a file, a folder of tasks, or a corpus of worlds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evolvent import tasks
from evolvent.codec import locate
from evolvent.envs.world import WorldPlan
from evolvent.errors import BadInput
from evolvent.rollouts.play import Workflow
from evolvent.tasks.procedural import family_names
from evolvent.tasks.source import Source


@dataclass(frozen=True, slots=True)
class Subject:
    """What must prove itself, and how it is played where it says so itself; `files` are digests by path."""

    name: str
    source: Source
    world: WorldPlan | None = None
    workflow: Workflow | None = None
    files: dict[str, str] = field(default_factory=dict)


FOLDERS: tuple[tuple[Callable[[Path], bool], str], ...] = (
    (lambda path: (path / "corpus.json").is_file(), "evolvent.synthesis.stored:subject_of_folder"),
    (lambda path: any(_with_task(path)), "evolvent.synthesis.harbor:subject_of_folder"),
)
"""What a folder may be, and the function of (path) -> {"source", "world", "workflow"} that opens it."""


WORLDS = {
    "evolvent.synthesis.world_tasks:WorldTasks": "evolvent.envs.databases:Databases",
    "evolvent.synthesis.stored:StoredTasks": "evolvent.envs.databases:Databases",
    "evolvent.synthesis.terminal_tasks:TerminalTasks": "evolvent.envs.shell:Shell",
    "evolvent.synthesis.gym_tasks:GymTasks": "evolvent.envs.gym:Gym",
    "evolvent.synthesis.bfcl_tasks:BfclTasks": "evolvent.envs.bfcl:Bfcl",
}
"""The worlds of our sources that need one, by import path."""


def find_subject(words: str | Source, seed: int = 0) -> Subject:
    """What the words stand for; a source stands for itself."""
    if not isinstance(words, str):
        return Subject(type(words).__name__, words, world_of(words))
    path = Path(words).expanduser()
    if path.is_dir() and words not in family_names():
        return of_folder(path)
    files = {path.name: digest(path)} if path.is_file() else {}
    return Subject(words, tasks.source(words, seed), files=files)


def world_of(source: Source) -> WorldPlan | None:
    """The world that a source of ours is made for, where that is not a calculator."""
    path = WORLDS.get(f"{type(source).__module__}:{type(source).__qualname__}")
    return None if path is None else locate(path)()


def of_folder(path: Path) -> Subject:
    """The tasks of a folder, by what lies in it."""
    for is_such, opener in FOLDERS:
        if is_such(path):
            found: dict[str, Any] = dict(locate(opener)(path))
            return Subject(str(path), found["source"], found.get("world"), found.get("workflow"), manifest(path))
    raise BadInput(
        "this folder holds no tasks",
        where=str(path),
        got=", ".join(sorted(p.name for p in path.iterdir())[:6]) or "an empty folder",
        wanted="a folder with task.toml, folders with one each, or a corpus.json of worlds",
        cure="name a folder of tasks, a file such as tasks.jsonl, or a family such as chain",
    )


def manifest(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder, by its path in there."""
    found = sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    return {p.relative_to(folder).as_posix(): digest(p) for p in found}


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _with_task(path: Path) -> list[Path]:
    return [p for p in (path, *sorted(path.iterdir())) if (p / "task.toml").is_file()]
