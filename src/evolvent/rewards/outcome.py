"""Scores of worlds: the return that one gives itself, and the judgement of somebody who acted from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evolvent.errors import VerifierError
from evolvent.records import Episode, Score, Task, Trace
from evolvent.rewards.by_task import by_task, judge_episodes


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


def judge_visit(task: Task, answer: str, evidence: Mapping[str, Any]) -> Score | None:
    """The score of an answer given by no policy of ours: a person, or a program at the other end of a wire."""
    visit = Episode(task.task_id, task, 0, (Trace(task.task_id, 0, "agent", "visitor", ()),), answer, evidence)
    [judged] = judge_episodes(by_task, [visit])
    return judged.traces[0].score
