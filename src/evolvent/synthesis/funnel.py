"""How many came in, how many were dropped and why, and how many came out: counts that add up over worlds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Funnel:
    """Counts by name, in the order in which they were first met."""

    counts: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Funnel) -> Funnel:
        """Both together."""
        names = dict.fromkeys([*self.counts, *other.counts])
        return Funnel({name: self[name] + other[name] for name in names})

    def __getitem__(self, name: str) -> int:
        """How many; 0 where nothing was counted."""
        return self.counts.get(name, 0)

    def lines(self) -> list[str]:
        """One line a count, numbers below each other."""
        width = max((len(f"{num:,}") for num in self.counts.values()), default=0)
        return [f"{num:>{width},}  {name}" for name, num in self.counts.items()]


def count(names: Iterable[str]) -> Funnel:
    """A funnel of names as they come."""
    return Funnel(dict(Counter(names)))
