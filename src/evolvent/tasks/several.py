"""Joins sources into one."""

from __future__ import annotations

from dataclasses import dataclass

from evolvent.errors import BadInput, nearest
from evolvent.records import Task
from evolvent.tasks.source import Source

__all__ = ["Several"]


@dataclass(frozen=True)
class Several:
    """The families of several sources side by side; each task comes from the source that has its family."""

    sources: tuple[Source, ...]

    def __post_init__(self) -> None:
        names = self.families
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise BadInput(
                "two sources have the same family",
                where="Several.sources",
                got=", ".join(twice),
                wanted="every family once",
                cure="leave one of them out (one source takes several levels: only_levels=(1, 2))",
            )

    @property
    def families(self) -> tuple[str, ...]:
        """The families of all sources, in order."""
        return tuple(name for source in self.sources for name in source.families)

    def levels(self, family: str) -> tuple[int, ...]:
        """The levels of a family."""
        return self.source_of(family).levels(family)

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """How many tasks a cell holds."""
        return self.source_of(family).num_tasks(family, level, split)

    def task(self, family: str, level: int, index: int, split: str = "train") -> Task:
        """Task `index` of a cell."""
        return self.source_of(family).task(family, level, index, split)

    def source_of(self, family: str) -> Source:
        """The source that has a family."""
        for source in self.sources:
            if family in source.families:
                return source
        raise BadInput(f"no family {family!r} in this source", got=family, cure=nearest(family, list(self.families)))
