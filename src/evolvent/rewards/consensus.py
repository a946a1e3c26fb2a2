"""Judges attempts by what most of them say: the vote of a group stands in for the answer that nobody knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evolvent.errors import BadInput, VerifierError
from evolvent.records import Episode, Score
from evolvent.rewards.by_task import by_task, lift
from evolvent.rewards.judge import Check, Judge, Judgement
from evolvent.rewards.numbers import read_number

Form = str | None
"""What an answer counts as in a vote: equal forms are equivalent answers, None is no answer."""

Canonical = Callable[[str], Form]
Labels = Callable[[Sequence[Form]], list[Form]]


def as_number(answer: str) -> Form:
    """The number that an answer gives, so that 1/2, 0.5 and 50% are one vote; None where it gives none."""
    value = read_number(answer).value
    return None if value is None else str(value)


def as_words(answer: str) -> Form:
    """The words of an answer, whatever space is between them."""
    return " ".join(answer.split()) or None


def as_number_or_words(answer: str) -> Form:
    """The number that an answer gives, else its words."""
    return as_number(answer) or as_words(answer)


def plurality(forms: Sequence[Form]) -> list[Form]:
    """For every attempt what most attempts say, y* = argmax_y sum_i 1[y_i = y]; of a tie what was said first."""
    votes = Counter(form for form in forms if form is not None)
    label = max(votes, key=lambda form: votes[form]) if votes else None  # a Counter keeps the order of first sight
    return [label] * len(forms)


def plurality_of_others(forms: Sequence[Form]) -> list[Form]:
    """For each attempt what most of the others say: nobody votes for themselves, which counts in small groups."""
    return [plurality([*forms[:i], *forms[i + 1 :]])[0] if len(forms) > 1 else None for i in range(len(forms))]


@dataclass(frozen=True, slots=True)
class Consensus:
    """1 for an answer that is the group's label, R(y_i) = 1[y_i = y*], else 0: TTRL, arXiv:2504.16084, section 2.

    Where nothing can be read from any attempt all are worth 0; so they are where the share of the most frequent answer
    is below `least_share` (a guess) or above `most_share` (no dissent left but the useful one: TTRL's collapse).
    Components, for the log alone: `majority_ratio`, `tie`, `trusted`, and, where the truth is known to `truth`,
    `truth_ratio`, `label_right` and `reward_right` (the reward is the true one). No value depends on `truth`.
    """

    canonical: Canonical = as_number_or_words
    labels: Labels = plurality
    least_share: float = 0.0
    most_share: float = 1.0
    truth: Judge | Check = by_task

    def __post_init__(self) -> None:
        if not 0 <= self.least_share <= self.most_share <= 1:
            raise BadInput(
                "no such shares of a vote",
                where="Consensus",
                got=f"least_share={self.least_share}, most_share={self.most_share}",
                wanted="0 <= least_share <= most_share <= 1",
            )

    def __call__(self, episodes: Sequence[Episode]) -> list[Score]:
        """One score per attempt at one task."""
        forms = [self.canonical(episode.answer) for episode in episodes]
        labels = self.labels(forms)
        counts = sorted(Counter(form for form in forms if form is not None).values(), reverse=True)
        share = counts[0] / len(forms) if counts else 0.0
        told = {"majority_ratio": share, "tie": float(counts[1:2] == counts[:1] and bool(counts))}
        told["trusted"] = float(bool(counts) and self.least_share <= share <= self.most_share)
        values = [told["trusted"] * (f is not None and f == y) for f, y in zip(forms, labels, strict=True)]
        known = self._beside_truth(episodes, forms, labels, values)
        return [
            Score(value, {"consensus": value, **told, **more}, f"says {form}, the label is {label}")
            for value, form, label, more in zip(values, forms, labels, known, strict=True)
        ]

    def _beside_truth(
        self, episodes: Sequence[Episode], forms: Sequence[Form], labels: Sequence[Form], values: Sequence[float]
    ) -> list[dict[str, float]]:
        """How labels and rewards compare with the truth; nothing where that is not known."""
        try:
            right = [_value(score) >= 1.0 for score in lift(self.truth)(episodes)]
        except (BadInput, VerifierError):  # unlabelled tasks are what this judge is for
            return [{} for _ in episodes]
        true_forms = {form for form, is_right in zip(forms, right, strict=True) if is_right}
        ratio = sum(right) / len(right) if right else 0.0
        return [
            {
                "truth_ratio": ratio,
                "label_right": float(label is not None and label in true_forms),
                "reward_right": float((value >= 1.0) == is_right),
            }
            for label, value, is_right in zip(labels, values, right, strict=True)
        ]


def _value(given: Judgement) -> float:
    if not isinstance(given, Score):
        raise BadInput("a truth scores an episode as a whole", got="one score a role")
    return given.value
