"""On what terms an agent joins, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from evolvent.errors import BadInput
from evolvent.hive.agents.proposer import Wire

Tell = Callable[[str, Mapping[str, Any]], None]


def _silent(kind: str, facts: Mapping[str, Any]) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an agent may use of each, from now on; None is no limit of its own (the hub has its own)."""

    evaluations: int | None = None
    seconds: float | None = None
    tokens: int | None = None
    money: float | None = None

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise BadInput("a limit must be above 0", where=name, got=value, wanted="a number > 0")


@dataclass(frozen=True)
class How:
    """How an agent goes about it: `is_alone` hides all that others do; `tell` hears what happens, as kind and facts."""

    limits: Limits = Limits()
    seed: int = 0
    is_alone: bool = False
    tell: Tell = _silent


@dataclass
class Summary:
    """What an agent has done since it joined, and why it ended."""

    evaluations: int = 0
    official: int = 0
    kept: int = 0
    tokens: int = 0
    money: float = 0.0
    seconds: float = 0.0
    best: Wire | None = None
    why: str = ""
    unsaid: int = 0
    runs: list[str] = field(default_factory=list)
