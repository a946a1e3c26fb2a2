"""What every supplier of tasks promises."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from evolvent.records import Task


@runtime_checkable
class Source(Protocol):
    """Tasks by (family, level, index), pure: the same arguments give the same task on every machine.

    `split` is "train" or "test"; the two never share a problem (by generator parameters or by a fixed division).
    """

    @property
    def families(self) -> tuple[str, ...]:
        """The names of the kinds of task on offer."""
        ...

    def levels(self, family: str) -> tuple[int, ...]:
        """The difficulty levels of a family, easiest first."""
        ...

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """How many tasks a cell holds; None where the generator never runs dry."""
        ...

    def task(self, family: str, level: int, index: int, split: str = "train") -> Task:
        """Task `index` of a cell."""
        ...
