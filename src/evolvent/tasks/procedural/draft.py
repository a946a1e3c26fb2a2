"""What a procedural family draws before it becomes a Task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evolvent.records import Message


@dataclass(frozen=True, slots=True)
class Draft:
    """One problem: the words, the private answer, hidden data for the check, and a worked solution."""

    question: str
    answer: str
    data: Mapping[str, Any] = field(default_factory=dict)
    solution: tuple[Message, ...] = ()
