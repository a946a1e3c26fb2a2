"""Scores with another zero: one for all tasks, or one for each, as those of a model that learned from comparisons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from evolvent.errors import BadInput
from evolvent.records import Episode, Score
from evolvent.rewards.by_task import by_task
from evolvent.rewards.judge import Judge
from evolvent.seeds import stream


@dataclass(frozen=True)
class Offset:
    """What `judge` says plus a number drawn once for each task, normal around `mean` with deviation `std`.

    A Bradley-Terry model is fitted to differences between answers to one prompt, so its scores of two prompts cannot
    be compared (P3O, arXiv:2310.00212, section 3). Measure with `truth`, train with this.
    """

    std: float = 0.0
    mean: float = 0.0
    judge: Judge = by_task

    def __post_init__(self) -> None:
        if not 0 <= self.std < math.inf or not math.isfinite(self.mean):
            raise BadInput("no such offset", got=self, wanted="std >= 0 and finite numbers")

    @property
    def judges_alone(self) -> bool:
        """Each score depends on its own episode alone, where it does for the judge."""
        return bool(getattr(self.judge, "judges_alone", False))

    def __call__(self, episodes: Sequence[Episode]) -> list[Score]:
        """One score per episode, the same number added wherever the task is the same."""
        return [self._moved(e, given) for e, given in zip(episodes, self.judge(episodes), strict=True)]

    def _moved(self, episode: Episode, given: object) -> Score:
        if not isinstance(given, Score):
            raise BadInput("an offset belongs to an episode as a whole", got="one score a role", wanted="a Score")
        added = stream(0, "offset", episode.task.task_id).gauss(self.mean, self.std)
        return replace(given, value=given.value + added, components={**given.components, "offset": added})
