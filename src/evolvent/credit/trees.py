"""An advantage whose group is a tree: every node is compared with all nodes of its own search, whoever made them."""

# T tokens of a trace, turn after turn

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evolvent.credit.advantage import Advantage
from evolvent.credit.batch import Credit
from evolvent.credit.spread import spread_evenly
from evolvent.errors import BadInput
from evolvent.records import Group, Span, Trace

NODE = "node "  # the components "node 0", "node 1", ... of a score are the values of a tree's nodes


@dataclass(frozen=True, slots=True)
class PerTree:
    """`within` for every tree (task, sample): the tokens of a node have its credit, and no others have any.

    The values of all nodes of a tree are components of the score of each of its traces; the spans say which tokens are
    a node's. Traces of no tree are compared with each other.
    """

    within: Advantage

    def __call__(self, scores: Sequence[float]) -> list[float]:
        """One group of scores, as `within` sees it."""
        return self.within(scores)

    def by_trace(self, groups: Sequence[Group]) -> list[list[Credit]]:
        """An array per trace, one number for all tokens of a node."""
        return [self._of_group(group) for group in groups]

    def _of_group(self, group: Group) -> list[Credit]:
        plain = [t.score.value for t in group.traces if t.score is not None and not values_of_tree(t)]
        credits = iter(self._compare(plain))
        return [self._of_tree(trace) if values_of_tree(trace) else next(credits) for trace in group.traces]

    def _of_tree(self, trace: Trace) -> np.ndarray:
        values = list(values_of_tree(trace).values())
        worth: dict[float, float] = {}
        for value, credit in zip(values, self._compare(values), strict=True):
            if worth.setdefault(value, credit) != credit:
                raise BadInput(
                    "two nodes of a tree earned the same and have different credit",
                    where="PerTree.within",
                    got=self.within,
                    wanted="an advantage that depends on scores, not on their order",
                )
        spans = trace.score.spans if trace.score is not None else ()
        credited = [Span(s.turn, s.start, s.stop, worth[s.value]) for s in spans]
        return spread_evenly(credited, [len(turn.tokens) for turn in trace.turns])

    def _compare(self, values: Sequence[float]) -> list[float]:
        """A tree of too few nodes has no baseline, and gives no signal."""
        is_enough = len(values) >= getattr(self.within, "min_group", 1)
        return self.within(values) if is_enough else [0.0] * len(values)


def values_of_tree(trace: Trace) -> dict[int, float]:
    """What every node of a trace's tree earned, by number; nothing where its score is of no tree."""
    parts = trace.score.components if trace.score is not None else {}
    return {int(name.removeprefix(NODE)): value for name, value in parts.items() if name.startswith(NODE)}
