"""The score that a world itself gives: the sum of its rewards, as its evidence tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evolvent.errors import VerifierError
from evolvent.records import Score, Task


def world_return(task: Task, answer: str, evidence: Mapping[str, Any]) -> Score:
    """The return of the episode, whatever was said."""
    if "return" not in evidence:
        raise VerifierError(
            "the world says nothing of its rewards",
            where=task.task_id,
            got=", ".join(evidence) or "no evidence",
            wanted="evidence() with a return, as Gym and OpenEnv have",
        )
    value = float(evidence["return"])
    return Score(value, {"return": value}, f"the world gave {value:g} in {evidence.get('num_steps', '?')} steps")
