"""One task for one agent from outside, and how its answer is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LAST_LINE, OUTPUT = "last line", "output"
API_KEY, MODEL = "none", "agent"
MAX_WHY_CHARS = 600


@dataclass(frozen=True, slots=True)
class Errand:
    """One task for one agent: what it is told, where it finds its model, and how its answer is read."""

    task: Mapping[str, Any]
    base_url: str
    timeout_s: float
    answer_is: str = LAST_LINE


class AgentFailed(Exception):
    """The agent ended with an error of its own."""

    def __init__(self, why: str) -> None:
        super().__init__(why if len(why) <= MAX_WHY_CHARS else "..." + why[-MAX_WHY_CHARS:])


def answer_of(value: object) -> str:
    """The words of what an agent gave back: a text, a mapping with `answer`, or anything else as JSON."""
    if isinstance(value, Mapping) and "answer" in value:
        value = value["answer"]
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)
