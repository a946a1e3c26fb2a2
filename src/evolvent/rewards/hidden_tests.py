"""Checks what hidden tests said of the files that an agent left in a shell world."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evolvent.errors import VerifierError
from evolvent.records import Score, Task

BONUS = 0.5  # for passing every test; SETA


def check(task: Task, answer: str, evidence: Mapping[str, Any] | None = None) -> Score:
    """The reward that the tests wrote, whatever the agent said; 0 where they ended without one."""
    told = _told(task, evidence)
    return Score(float(told["reward"]), _components(told), _why(told))


def share_of_tests(task: Task, answer: str, evidence: Mapping[str, Any] | None = None, bonus: float = BONUS) -> Score:
    """The share of tests that passed, and a bonus where all did: 3 of 4 is 0.75, 4 of 4 is 1.5.

    The tests say how many by the rewards `passed` and `num_tests`; those that do not count as one test.
    """
    told = _told(task, evidence)
    rewards = told.get("rewards", {})
    passed, num_tests = float(rewards.get("passed", told["reward"] >= 1.0)), float(rewards.get("num_tests", 1.0))
    share = min(1.0, max(0.0, passed / num_tests)) if num_tests > 0 else 0.0
    is_whole = num_tests > 0 and passed >= num_tests
    return Score(share + (bonus if is_whole else 0.0), _components(told), f"{passed:g} of {num_tests:g} tests passed")


def _told(task: Task, evidence: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if not evidence or "reward" not in evidence:
        raise VerifierError(
            "nobody ran the tests",
            where=task.task_id,
            got=sorted(evidence or {}),
            wanted="reward in Episode.info",
            cure="play the task in the world evolvent.envs.shell:Shell",
        )
    return evidence


def _components(told: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in {"reward": told["reward"], **told.get("rewards", {})}.items()}


def _why(told: Mapping[str, Any]) -> str:
    return str(told.get("why") or told.get("log") or f"the tests gave {told['reward']:g}")[-400:]
