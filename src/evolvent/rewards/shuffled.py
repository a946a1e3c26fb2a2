"""The control of every claim: training sees the scores of a batch permuted, measurement sees the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TypeVar

from evolvent.records import Episode, Score
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

    Episodes without a score stay as they are and take no part.
    """
    rewrite = getattr(judge, "for_training", None)
    places = [i for i, episode in enumerate(episodes) if episode.traces and episode.traces[0].score is not None]
    if rewrite is None:
        return list(episodes)
    told = list(episodes)
    scores = rewrite([episodes[i].traces[0].score for i in places], rng)
    for i, score in zip(places, scores, strict=True):
        traces = tuple(replace(trace, score=score) for trace in episodes[i].traces)
        told[i] = replace(episodes[i], traces=traces)
    return told
