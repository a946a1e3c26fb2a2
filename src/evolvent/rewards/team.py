"""What a frozen judge in the team says, mixed with what a rule says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from evolvent.errors import BadInput, VerifierError
from evolvent.records import Episode, Score
from evolvent.rewards.by_task import by_task, lift
from evolvent.rewards.central import minutes_of
from evolvent.rewards.judge import Check, Judge

OUT_OF_TEN = re.compile(r"(-?\d+(?:\.\d+)?)\s*(?:/|out of)\s*10\b", re.IGNORECASE)
CALLED_SCORE = re.compile(r"\b(?:score|rating|grade)\b\W*(?:is|of)?\W*(\d+(?:\.\d+)?)\b", re.IGNORECASE)
BAD = re.compile(r"\b(?:incorrect|wrong|false|no|not (?:correct|right|true))\b", re.IGNORECASE)
GOOD = re.compile(r"\b(?:correct|right|true|yes)\b", re.IGNORECASE)


def read_score(words: str) -> float | None:
    """The share of full marks that a judge gives: 7/10, 7 out of 10, score: 7, else by its words; None for neither.

    The last number counts, as judges think aloud before they decide.
    """
    for form in (OUT_OF_TEN, CALLED_SCORE):
        if found := form.findall(words):
            return min(max(float(found[-1]) / 10, 0.0), 1.0)
    if BAD.search(words):
        return 0.0
    return 1.0 if GOOD.search(words) else None


@dataclass(frozen=True)
class Rated:
    """w r_judge + (1 - w) r_rule within 0 to 1 for the seat that answered, from a judge in the team: MARTI (ICLR 2026).

    What cannot be read as a score is a fault of the judge, not of the answer. The judge itself earns nothing.
    """

    weight: float
    seat: str = "agent"
    judge: str = "judge"
    rule: Judge | Check = by_task

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise BadInput("not a share", where="Rated.weight", got=self.weight, wanted="0 to 1")

    @property
    def judges_alone(self) -> bool:
        """Each score depends on its own episode alone, where it does for the rule."""
        return bool(getattr(lift(self.rule), "judges_alone", False))

    def __call__(self, episodes: Sequence[Episode]) -> list[dict[str, Score]]:
        """One score per episode, for the seat that answered."""
        return [self._rate(e, given) for e, given in zip(episodes, lift(self.rule)(episodes), strict=True)]

    def _rate(self, episode: Episode, ruled: object) -> dict[str, Score]:
        if not isinstance(ruled, Score):
            raise BadInput("a rule scores an episode as a whole", where="Rated.rule", got="one score a role")
        words = next((line["words"] for line in reversed(minutes_of(episode)) if line["seat"] == self.judge), "")
        rated = read_score(words)
        if rated is None:
            raise VerifierError("a judge gave no score", where=episode.episode_id, got=words[:80], wanted="7 out of 10")
        value = min(max(self.weight * rated + (1 - self.weight) * ruled.value, 0.0), 1.0)
        return {self.seat: Score(value, {"judge": rated, "rule": ruled.value}, f"the judge says {words[:80]!r}")}
