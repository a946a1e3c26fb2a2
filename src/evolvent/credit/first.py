"""Credit for the first attempts of a group alone: the others were made to judge by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evolvent.credit.advantage import Advantage
from evolvent.errors import BadInput


@dataclass(frozen=True, slots=True)
class FirstOf:
    """`within` over the first `num` scores of a group, 0 for the others.

    TTRL (arXiv:2504.16084) votes with 64 attempts and trains on 32. Attempts are exchangeable, so the first are as good
    as any; a smaller group is trained on whole.
    """

    num: int
    within: Advantage

    def __post_init__(self) -> None:
        if self.num < self.min_group:
            raise BadInput(
                "too few attempts to compare", where="FirstOf.num", got=self.num, wanted=f">= {self.min_group}"
            )

    @property
    def min_group(self) -> int:
        """What `within` needs."""
        return int(getattr(self.within, "min_group", 1))

    def __call__(self, scores: Sequence[float]) -> list[float]:
        """One advantage per score."""
        return [*self.within(scores[: self.num]), *(0.0 for _ in scores[self.num :])]
