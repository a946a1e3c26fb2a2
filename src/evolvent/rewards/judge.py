"""What a judge is: it maps the episodes of one task to scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from evolvent.records import Episode, Score, Task

Check = Callable[[Task, str], Score]
"""A check of one answer; `by_task` lifts the one that each task names to a judge."""


class Judge(Protocol):
    """Scores for the episodes of one task, in order; raises VerifierError where the judge itself broke."""

    def __call__(self, episodes: Sequence[Episode]) -> list[Score]:
        """One score per episode."""
        ...
