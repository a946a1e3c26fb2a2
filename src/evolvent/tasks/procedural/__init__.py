"""Families of tasks with a difficulty knob and an exact checker: each module here is one family.

A family is a module with `LEVELS`, `JUDGE` and `make(rng, level) -> Draft`, found by walking this folder.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from evolvent.errors import BadInput, nearest
from evolvent.records import Origin, Private, Reference, Task, said
from evolvent.seeds import derive, stream
from evolvent.tasks.procedural.draft import Draft

__all__ = ["Draft", "Procedural", "family_names", "split_of"]

MAX_REDRAWS = 1000
"""Far above the 8 redraws that the split costs on average, so that only a cell without such tasks runs out."""


@dataclass(frozen=True)
class Procedural:
    """Families by name under one seed; `only_levels` keeps the curriculum on some of their levels."""

    names: tuple[str, ...]
    seed: int = 0
    only_levels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.names:
            raise BadInput("no family is named", where="Procedural.names", got="()", wanted=", ".join(family_names()))
        for name in self.names:
            self.levels(name)

    @property
    def families(self) -> tuple[str, ...]:
        """The names of the families on offer."""
        return self.names

    def levels(self, family: str) -> tuple[int, ...]:
        """The levels of a family, easiest first."""
        offered = family_called(family).LEVELS
        kept = tuple(level for level in offered if not self.only_levels or level in self.only_levels)
        if not kept:
            raise BadInput(
                f"{family} has none of the levels asked for",
                where="Procedural.only_levels",
                got=", ".join(map(str, self.only_levels)),
                wanted=f"{offered[0]} to {offered[-1]}",
                cure=f"name a level that exists, for example {family}:{offered[0]}",
            )
        return kept

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """None: a generator never runs dry (a small cell repeats itself)."""
        return None

    def task(self, family: str, level: int, index: int, split: str = "train") -> Task:
        """Task `index` of a cell: it depends on (seed, family, level, split, index) and on nothing else."""
        if family not in self.names:
            raise BadInput(f"no family {family!r} in this source", got=family, cure=nearest(family, list(self.names)))
        if level not in self.levels(family):
            offered = ", ".join(map(str, self.levels(family)))
            raise BadInput(f"{family} has no level {level}", got=level, wanted=offered, cure="ask for a level on offer")
        module = family_called(family)
        rng = stream(self.seed, family, level, split, index)
        draft = draw_of_split(lambda: module.make(rng, level), family, level, split)
        return Task(
            task_id=f"{family}-{level}-{split}-{self.seed}-{index}",
            family=family,
            level=level,
            prompt=(said("user", draft.question),),
            private=Private(answer=draft.answer, data=draft.data, solution=draft.solution),
            judge=module.JUDGE,
            origin=Origin(how=f"procedural:{family}"),
            split=split,
        )


def split_of(family: str, question: str) -> str:
    """The split of a problem, by a hash of its words alone: so the splits are disjoint whatever the seeds."""
    return "test" if derive(0, family, question) % 8 == 0 else "train"


def draw_of_split(draw: Callable[[], Draft], family: str, level: int, split: str) -> Draft:
    """The first draft that belongs to `split`."""
    if split not in ("train", "test"):
        raise BadInput(f"no split {split!r}", got=split, wanted="train or test", cure=nearest(split, ["train", "test"]))
    for _ in range(MAX_REDRAWS):
        draft = draw()
        if split_of(family, draft.question) == split:
            return draft
    raise BadInput(
        f"the cell {family}:{level} is exhausted",
        where=f"split {split}",
        got=f"no task in {MAX_REDRAWS} draws",
        wanted="at least one problem of this split",
        cure="use a higher level, or widen what the family's make() draws from",
    )


class Family(Protocol):
    """What a module in this folder defines to be a family."""

    LEVELS: tuple[int, ...]
    JUDGE: Reference

    def make(self, rng: random.Random, level: int) -> Draft:
        """One problem of a level."""
        ...


@functools.cache
def family_names() -> tuple[str, ...]:
    """The families in this folder: every module that defines `make`, in alphabetical order."""
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(name for name in modules if hasattr(importlib.import_module(f"{__name__}.{name}"), "make"))


def family_called(name: str) -> Family:
    """The module of a family."""
    if name not in family_names():
        raise BadInput(
            f"no family {name!r}", where="procedural tasks", got=name, cure=nearest(name, list(family_names()))
        )
    return cast(Family, importlib.import_module(f"{__name__}.{name}"))
