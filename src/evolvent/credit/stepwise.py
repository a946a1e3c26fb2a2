"""An advantage that tells the tokens of a trace apart, by the scores of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evolvent.credit.advantage import Standardized, check_deviation
from evolvent.credit.batch import Credit
from evolvent.credit.spread import credit_steps
from evolvent.records import Group


@dataclass(frozen=True, slots=True)
class StepWise:
    """Step scores standardised over a group, each token with the sum of those still to come (see credit/spread.py).

    Process supervision of DeepSeekMath, arXiv:2402.03300, section 4.1.3; a trace without step scores is one step.
    """

    ddof: int
    eps: float

    def __post_init__(self) -> None:
        check_deviation(self.ddof, self.eps)

    def __call__(self, scores: Sequence[float]) -> list[float]:
        """One advantage per score: what is left of it where nothing is known of steps."""
        return Standardized(self.ddof, self.eps)(scores)

    def by_trace(self, groups: Sequence[Group]) -> list[list[Credit]]:
        """An array per trace, a number for each of its tokens."""
        return [list(credit_steps(group, self.ddof, self.eps)) for group in groups]
