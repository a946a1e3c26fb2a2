"""The control of every claim: training sees the scores of a batch permuted, measurement sees the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TypeVar

from evolvent.records import Episode, Score, role_of
from evolvent.rewards.by_task import by_task
from evolvent.rewards.judge import Judge, Judgement

Scored = TypeVar("Scored", float, Score)


@dataclass(frozen=True)
class Shuffled:
    """Judges as `truth` does; `for_training` permutes what the update sees."""

    truth: Judge = by_task

    @property
    def judges_alone(self) -> bool:
        """Each score depends on its own episode alone, where it does for the truth."""
        return bool(getattr(self.truth, "judges_alone", False))

    def __call__(self, episodes: Sequence[Episode]) -> Sequence[Judgement]:
        """The true scores: evaluation and curriculum keep them."""
        return self.truth(episodes)

    def for_training(self, scores: Sequence[Scored], rng: Random) -> list[Scored]:
        """All scores of a batch, permuted: the same numbers, and no word of who earned them."""
        permuted = list(scores)
        rng.shuffle(permuted)
        return permuted


shuffled = Shuffled()


def training_scores(judge: Judge, episodes: Sequence[Episode], rng: Random) -> list[Episode]:
    """The judged episodes of a batch with the scores that an update may see: the true ones, unless the judge says else.

    Traces without a score stay as they are and take no part; the scores of one role go to traces of that role.
    """
    rewrite = getattr(judge, "for_training", None)
    if rewrite is None:
        return list(episodes)
    places: dict[str, list[tuple[int, int]]] = {}
    for i, episode in enumerate(episodes):
        for j, trace in enumerate(episode.traces):
            if trace.score is not None:
                places.setdefault(role_of(trace.seat), []).append((i, j))
    told: dict[tuple[int, int], Score] = {}
    for role in sorted(places):
        scores = rewrite([episodes[i].traces[j].score for i, j in places[role]], rng)
        told |= dict(zip(places[role], scores, strict=True))
    return [
        replace(e, traces=tuple(replace(t, score=told.get((i, j), t.score)) for j, t in enumerate(e.traces)))
        for i, e in enumerate(episodes)
    ]
