"""A reward in ten lines: right is 1, close is a little, and the score says why."""

from __future__ import annotations

from evolvent import Score, Task


def close(task: Task, answer: str) -> Score:
    """1 for the right number of minutes, 0.2 for one that is at most an hour off."""
    assert task.private is not None
    wanted = int(task.private.answer)
    if len(answer) > 20 or not answer.strip().lstrip("-").isdecimal():
        return Score(0.0, why="not a number")
    gap = abs(int(answer) - wanted)
    return Score(1.0 if gap == 0 else 0.2 if gap <= 60 else 0.0, {"gap": float(gap)}, why=f"{gap} minutes off")
