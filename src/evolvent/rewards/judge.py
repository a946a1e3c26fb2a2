"""What a judge is: it maps the episodes of one task to scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from evolvent.records import Episode, Score, Task

Check = Callable[[Task, str], Score]
"""A check of one answer; `by_task` lifts the one that each task names to a judge.

One with a parameter `evidence` is given the episode's `info` as well: how the world was left."""


Judgement = Score | Mapping[str, Score]
"""What an episode earned: one score for everybody in it, or one a role, or one a seat where copies of a role differ
("solver/2"); who is not named learns nothing."""


class Judge(Protocol):
    """Judgements of the episodes of one task, in order; raises VerifierError where the judge itself broke.

    One that remembers (an archive of what was proposed) is described frozen, and `begin()` gives the judge at work,
    with `state()` and `restore()`.
    """

    def __call__(self, episodes: Sequence[Episode]) -> Sequence[Judgement]:
        """One judgement per episode."""
        ...
