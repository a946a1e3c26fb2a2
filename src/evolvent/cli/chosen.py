"""Which tasks a policy is measured on or shown: of a run's own suite, of some levels, of a file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evolvent.cli.subject import Setting, Subject
from evolvent.codec import encode
from evolvent.errors import BadInput
from evolvent.evals.measure import HeldOut, Suite, hold_out
from evolvent.records import Cell, Task
from evolvent.tasks.source import Source

NUM_TASKS = 256
MANY = 1_000_000  # more levels than any source has


@dataclass(frozen=True, slots=True)
class Asked:
    """What `eval` takes beside the setting: tasks of a level, attempts at each, which levels, which rows of a file."""

    num_tasks: int | None = None
    k: int = 1
    level: str | None = None
    split: str = "test"


def read_asked(fields: dict[str, str]) -> Asked:
    """The verb's own keys, checked."""
    numbers = {}
    for key in ("num_tasks", "k"):
        if key in fields:
            if not fields[key].isdecimal() or int(fields[key]) < 1:
                raise BadInput("not a number of tries", where=key, got=fields[key], wanted="a whole number from 1 on")
            numbers[key] = int(fields[key])
    split = fields.get("split", "test")
    if split not in ("test", "all"):
        raise BadInput(
            "unknown split",
            where="split",
            got=split,
            wanted="test, or all for every row of a file",
            cure="training rows show what was learned by heart, so they are measured with split=all only",
        )
    return Asked(**numbers, level=fields.get("level"), split=split)


@dataclass(frozen=True)
class Chosen:
    """A source cut down to some levels (None: all), or, for a file, with its two splits put together as one."""

    source: Source
    only: tuple[int, ...] | None
    together: bool

    @property
    def families(self) -> tuple[str, ...]:
        """The families that have one of the levels."""
        return tuple(f for f in self.source.families if self.levels(f))

    def levels(self, family: str) -> tuple[int, ...]:
        """The levels that were asked for."""
        return tuple(n for n in self.source.levels(family) if self.only is None or n in self.only)

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """How many tasks a cell holds."""
        held = self.source.num_tasks(family, level, split)
        if not self.together or held is None:
            return held
        return held + (self.source.num_tasks(family, level, "train") or 0)

    def task(self, family: str, level: int, index: int, split: str = "test") -> Task:
        """Task `index`; training rows come behind the held-out ones."""
        held = self.source.num_tasks(family, level, split)
        if self.together and held is not None and index >= held:
            return self.source.task(family, level, index - held, "train")
        return self.source.task(family, level, index, split)


def choose_tasks(subject: Subject, setting: Setting, asked: Asked) -> tuple[Source, HeldOut]:
    """The tasks of each (family, level): those of the run's own suite, unless the command says otherwise."""
    from evolvent import tasks

    source = tasks.source(setting.source, setting.seed) if isinstance(setting.source, str) else setting.source
    if asked.split == "all" and not is_finite(source):
        raise BadInput(
            "split=all has no effect on tasks that are made",
            where="split",
            got=source_words(setting.source),
            wanted="a file",
            cure="leave it out: held-out tasks never run dry",
        )
    only = _levels(source, asked.level)
    if asked.level is None and not is_own(subject, setting) and not is_finite(source):
        only = tuple({source.levels(f)[0] for f in source.families})
    suite = choose_suite(subject if is_own(subject, setting) else replace(subject, suite=None), asked)
    held_out = hold_out(suite, Chosen(source, only, asked.split == "all"))
    if not any(held_out.values()):
        raise BadInput(
            "no task is held out",
            where=f"source={source_words(setting.source)}",
            got="0 tasks in the test split",
            cure="split=all measures every row, for a policy that was not trained on this file",
        )
    return source, {cell: found for cell, found in held_out.items() if found}


def choose_suite(subject: Subject, asked: Asked) -> Suite:
    """The run's own suite, unless levels or a number of tasks are asked for."""
    own = subject.suite
    num = asked.num_tasks or (own.num_tasks if own else NUM_TASKS)
    if own and asked.level is None:
        return replace(own, num_tasks=num, num_tasks_above=num) if asked.num_tasks else own
    return Suite(num, num, num_levels=MANY)


def is_own(subject: Subject, setting: Setting) -> bool:
    """Whether these are the tasks on which the run measured itself."""
    return subject.suite is not None and setting.source == subject.setting.source


def _levels(source: Source, words: str | None) -> tuple[int, ...] | None:
    if words in (None, "all"):
        return None
    offered = sorted({n for f in source.families for n in source.levels(f)})
    parts = str(words).strip("[]").split(",")
    if not all(p.strip().isdecimal() and int(p) in offered for p in parts):
        raise BadInput(
            "no such level",
            where="level",
            got=words,
            wanted=", ".join(map(str, offered)),
            cure="one level, several with commas, or all",
        )
    return tuple(int(p) for p in parts)


def is_finite(source: Source) -> bool:
    """Whether all tasks are rows of files."""
    return all(source.num_tasks(f, source.levels(f)[0], "test") is not None for f in source.families)


def in_headline(cell: Cell, source: Source, asked: Asked) -> bool:
    """Rows of a file count all; of levels that are climbed the first one does, unless levels were asked for."""
    return asked.level is not None or is_finite(source) or cell.level == source.levels(cell.family)[0]


def source_words(source: Source | str) -> Any:
    """The source as JSON: its words, the absolute path of a file, or the parts of a plan's own source."""
    if isinstance(source, str):
        return str(Path(source).resolve()) if Path(source).is_file() else source
    return encode(source)
