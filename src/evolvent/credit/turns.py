"""An advantage for several agents over several turns: a turn is compared with the same turn of the same seat."""

# T tokens of a trace, turn after turn

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evolvent.credit.advantage import Advantage
from evolvent.credit.batch import Credit
from evolvent.errors import BadInput
from evolvent.records import Group, Trace


@dataclass(frozen=True, slots=True)
class PerTurn:
    """`within` for every group (task, seat, turn): the k-th turn that a seat spoke, against the k-th of its siblings.

    A turn is worth the sum of the spans of its trace's score that lie in it, or, where the score has no spans, the
    score. Pairs cut from a flat list of turns would compare a verifier with a generator (AT-GRPO, arXiv:2510.11062).
    A turn that fewer attempts than `min_group` have reached has nothing to be compared with, and gets no credit.
    """

    within: Advantage

    @property
    def min_group(self) -> int:
        """What the first stage needs."""
        return int(getattr(self.within, "min_group", 1))

    def __call__(self, scores: Sequence[float]) -> list[float]:
        """One group of scores, as `within` sees it."""
        return self.within(scores)

    def by_trace(self, groups: Sequence[Group]) -> list[list[Credit]]:
        """An array per trace, one number for all tokens of a turn."""
        return [list(self._of_group(group)) for group in groups]

    def _of_group(self, group: Group) -> list[np.ndarray]:
        values = [turn_values(trace) for trace in group.traces]
        credits: list[dict[int, float]] = [{} for _ in group.traces]
        for slot in range(max(map(len, values), default=0)):
            there = [i for i, found in enumerate(values) if slot < len(found)]
            if len(there) < self.min_group:
                continue
            worth = self.within([values[i][slot][1] for i in there])
            for i, credit in zip(there, worth, strict=True):
                credits[i][values[i][slot][0]] = credit
        return [_spread(trace, by_turn) for trace, by_turn in zip(group.traces, credits, strict=True)]


def turn_values(trace: Trace) -> list[tuple[int, float]]:
    """(number in the trace, value) of every turn that the policy wrote, in order."""
    if trace.score is None:
        raise BadInput("a trace without a score has no values", where=f"{trace.task_id}/{trace.sample}/{trace.seat}")
    written = [number for number, turn in enumerate(trace.turns) if any(turn.mask)]
    spans = trace.score.spans
    if not spans:
        return [(number, trace.score.value) for number in written]
    odd = sorted({span.turn for span in spans} - set(written))
    if odd:
        raise BadInput(
            "a span belongs to no turn that the policy wrote",
            where=f"score of {trace.task_id}/{trace.sample}/{trace.seat}",
            got=f"turn {odd[0]}",
            wanted=f"one of {written}",
        )
    return [(number, sum(span.value for span in spans if span.turn == number)) for number in written]


def _spread(trace: Trace, by_turn: dict[int, float]) -> np.ndarray:
    """(T,) with the credit of each turn at all of its tokens."""
    lengths = [len(turn.tokens) for turn in trace.turns]
    return np.repeat([by_turn.get(number, 0.0) for number in range(len(lengths))], lengths)
