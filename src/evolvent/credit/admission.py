"""Which groups may train: small predicates over a group, and a count of what each of them refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evolvent.errors import BadInput
from evolvent.records import Group

Admits = Callable[[Group], bool]


@dataclass(frozen=True, slots=True)
class Spread:
    """The scores differ by more than `least`: equal scores carry no signal (DAPO, arXiv:2503.14476, eq. 11)."""

    least: float = 0.0

    def __call__(self, group: Group) -> bool:
        """Whether the group may train."""
        scores = [t.score.value for t in group.traces if t.score is not None]
        return bool(scores) and max(scores) - min(scores) > self.least


@dataclass(frozen=True, slots=True)
class Complete:
    """At least `num_attempts` attempts were judged: what a fault left over is a small group with a noisy baseline."""

    num_attempts: int

    def __call__(self, group: Group) -> bool:
        """Whether the group may train."""
        return sum(t.outcome.carries_reward and t.score is not None for t in group.traces) >= self.num_attempts


@dataclass(frozen=True, slots=True)
class Fresh:
    """Every token was sampled at most `max_staleness` updates before `version`, and none after it."""

    version: int
    max_staleness: int

    def __post_init__(self) -> None:
        if self.max_staleness < 0:
            raise BadInput("no such staleness", where="max_staleness", got=self.max_staleness, wanted=">= 0 updates")

    def __call__(self, group: Group) -> bool:
        """Whether the group may train."""
        lags = [self.version - turn.version for t in group.traces for turn in t.turns if turn.version >= 0]
        return all(0 <= lag <= self.max_staleness for lag in lags)


@dataclass(frozen=True, slots=True)
class Admitted:
    """The groups that may train, in order, and how many each predicate refused; a group counts for the first one."""

    groups: tuple[Group, ...]
    refused: Mapping[str, int]

    @property
    def share(self) -> float:
        """The share of groups that may train."""
        num = len(self.groups) + sum(self.refused.values())
        return len(self.groups) / num if num else 0.0


def admit(groups: Sequence[Group], predicates: Sequence[Admits]) -> Admitted:
    """Sort groups out by predicates, tried in order."""
    kept: list[Group] = []
    refused = {_name(admits): 0 for admits in predicates}
    for group in groups:
        reason = next((_name(admits) for admits in predicates if not admits(group)), None)
        if reason is None:
            kept.append(group)
        else:
            refused[reason] += 1
    return Admitted(tuple(kept), refused)


def _name(admits: Admits) -> str:
    return str(getattr(admits, "__name__", type(admits).__name__)).lower()
