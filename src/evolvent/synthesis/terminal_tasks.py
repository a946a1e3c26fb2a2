"""Terminal tasks from seeded templates as a source and as Harbor folders; whole templates are held out.

Tests look at files, never at commands, and every fact that they assert stands under a sentence of the instruction.
"""

from __future__ import annotations

import functools
import hashlib
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolvent.envs.shell import name_folder
from evolvent.errors import BadInput, nearest
from evolvent.records import Message, Origin, Private, Reference, Task, ToolCall, said
from evolvent.seeds import derive, stream
from evolvent.synthesis.terminal import on_files, on_text
from evolvent.synthesis.terminal.draft import Draft
from evolvent.tasks.formats.harbor import CONFIG, INSTRUCTION, SCHEMA, SOLVE, TEST, HarborTask
from evolvent.tasks.formats.toml import to_toml

__all__ = ["FAMILIES", "HELD_OUT", "TerminalTasks", "as_folder", "as_task", "make"]

JUDGE = Reference("evolvent.rewards.hidden_tests:check")
MAKER = "evolvent.synthesis.terminal_tasks:make"
LEVELS = (1, 2, 3)
FAMILIES: Mapping[str, Callable[[random.Random, int], Draft]] = {
    "allow": on_files.allow,
    "clear": on_files.clear,
    "column": on_text.column,
    "count_lines": on_text.count_lines,
    "dedupe": on_text.dedupe,
    "index": on_text.index,
    "largest": on_files.largest,
    "merge": on_text.merge,
    "pack": on_files.pack,
    "rename": on_files.rename,
    "replace_word": on_text.replace_word,
    "set_value": on_text.set_value,
    "sort_out": on_files.sort_out,
    "total": on_text.total,
    "tree": on_files.tree,
}
HELD_OUT = ("index", "largest", "merge", "sort_out")
"""Templates that are never trained on."""
SPLITS = ("train", "test")
DIFFICULTY = {"easy": 1, "medium": 2, "hard": 3}
ROLE = "You work in a shell. Call it with commands; when all is done, answer done.\n\n"
DOCKERFILE = "FROM python:3.11-slim-bookworm\nWORKDIR /app\nCOPY files/ /app/\n"
RUN_TESTS = """#!/bin/bash
# no module and no program of the folder that is judged is ever run
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
logs=${EVOLVENT_LOGS:-/logs/verifier}
mkdir -p "$logs"
python3 -I -S "$here/check.py" "$logs"
"""


@dataclass(frozen=True)
class TerminalTasks:
    """Tasks of templates, to be played in the world `Shell()`; those of `HELD_OUT` have a test split alone."""

    names: tuple[str, ...] = tuple(FAMILIES)
    seed: int = 0
    num_levels: int = len(LEVELS)

    def __post_init__(self) -> None:
        odd = [name for name in self.names if name not in FAMILIES]
        if odd:
            raise BadInput("no such template", where="TerminalTasks", got=odd[0], cure=nearest(odd[0], list(FAMILIES)))
        if not 1 <= self.num_levels <= len(LEVELS):
            raise BadInput("no such levels", where="TerminalTasks", got=self.num_levels, wanted=f"1 to {len(LEVELS)}")

    @property
    def families(self) -> tuple[str, ...]:
        """The templates."""
        return self.names

    def levels(self, family: str) -> tuple[int, ...]:
        """How much there is to look at, and how deep."""
        return LEVELS[: self.num_levels]

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """None, for tasks are drawn; 0 where a template is held out of training."""
        return 0 if split == "train" and family in HELD_OUT else None

    def task(self, family: str, level: int, index: int, split: str = "train") -> Task:
        """Task `index` of a template; the files of the two splits are drawn from streams of their own."""
        if split == "train" and family in HELD_OUT:
            raise BadInput("this template is held out", where=family, got=split, wanted="test")
        place: dict[str, Any] = {"family": family, "level": level, "index": index, "split": split}
        arguments = {**place, "seed": self.seed}
        return as_task(make(**arguments), Reference(MAKER, arguments), split)


def make(family: str, level: int, index: int, split: str = "train", seed: int = 0) -> HarborTask:
    """The folder of one task: a function of its arguments."""
    if family not in FAMILIES:
        raise BadInput("no such template", got=family, cure=nearest(family, list(FAMILIES)))
    if level not in LEVELS or split not in SPLITS:
        raise BadInput("no such task", got=f"level {level}, split {split}", wanted=f"{LEVELS}, {SPLITS}")
    draft = FAMILIES[family](stream(seed, "terminal", family, level, split, index), level)
    told = "test" if family in HELD_OUT else split
    number = derive(seed, "terminal", family, level, split, index) % 16**8
    return as_folder(draft, f"{family}-{level}-{number:08x}", {"family": family, "level": level, "split": told})


def as_folder(draft: Draft, name: str, metadata: Mapping[str, Any]) -> HarborTask:
    """A draft as a task folder, with its wrong and its other right solutions beside the one."""
    config = {
        "schema_version": SCHEMA,
        "task": {"name": f"evolvent/{name.replace('_', '-')}", "description": draft.clauses[0].words.split("\n")[0]},
        "metadata": {**metadata, "category": "files", "canary": _canary(name)},
        "agent": {"timeout_sec": 300.0},
        "verifier": {"timeout_sec": 60.0},
        "environment": {"build_timeout_sec": 600.0, "cpus": 1, "memory_mb": 1024, "network_mode": "no-network"},
    }
    files = {
        CONFIG: to_toml(config),
        INSTRUCTION: draft.instruction + "\n",
        "environment/Dockerfile": DOCKERFILE,
        SOLVE: f"#!/bin/bash\n{draft.solution}\n",
        TEST: RUN_TESTS,
        "tests/check.py": _checker(),
        "tests/facts.json": json.dumps(draft.facts, indent=1, ensure_ascii=False) + "\n",
        **{f"environment/files/{path}": told for path, told in draft.files.items()},
        **{f"probes/mutant-{i}.sh": told + "\n" for i, told in enumerate(draft.mutants, 1)},
        **{f"probes/alternative-{i}.sh": told + "\n" for i, told in enumerate(draft.alternatives, 1)},
    }
    return HarborTask({path: told.encode() for path, told in files.items()}, frozenset({SOLVE, TEST}), name)


def as_task(folder: HarborTask, reference: Reference, split: str) -> Task:
    """A task folder as a task of the circle; `reference` names the function that gives the folder."""
    solution = folder.files.get(SOLVE, b"").decode("utf-8", "replace").removeprefix("#!/bin/bash\n").strip()
    says = Message("assistant", (ToolCall("shell", {"command": solution}),))
    family, level = cell_of(folder)
    return Task(
        task_id=f"{folder.name.rpartition('/')[2]}-{folder.digest[:8]}",
        family=family,
        level=level,
        prompt=(said("user", ROLE + folder.instruction),),
        private=Private("done", name_folder(reference), (says, said("assistant", "done")) if solution else ()),
        judge=JUDGE,
        origin=Origin(reference.path),
        split=split,
    )


def cell_of(folder: HarborTask) -> tuple[str, int]:
    """The family and the level that task.toml gives, by one name or another."""
    told = folder.metadata
    level = told.get("level", DIFFICULTY.get(str(told.get("difficulty")), 1))
    family = str(told.get("family") or told.get("category") or "harbor")
    return family, level if isinstance(level, int) and level > 0 else 1


@functools.cache
def _checker() -> str:
    return (Path(__file__).parent / "terminal" / "check_inside.py").read_text("utf-8")


def _canary(name: str) -> str:
    """A mark by which a text that was learned by heart can be found again."""
    return f"evolvent-canary-{hashlib.sha256(name.encode()).hexdigest()[:32]}"
