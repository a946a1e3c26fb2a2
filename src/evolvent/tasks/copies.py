"""Numbers to be said again: the least that an agent can be taught, for when what matters is how it was taught."""

from __future__ import annotations

import random
from dataclasses import dataclass

from evolvent.errors import BadInput
from evolvent.records import Origin, Private, Reference, Task, said
from evolvent.seeds import stream
from evolvent.tasks.procedural import Draft, draw_of_split

__all__ = ["Copies"]

FAMILY = "copies"


@dataclass(frozen=True, slots=True)
class Copies:
    """Numbers of `num_digits` digits, such as 40713?, each of which is its own answer."""

    num_digits: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_digits < 3:
            raise BadInput("too few numbers to hold some out", where="Copies", got=self.num_digits, wanted=">= 3")

    @property
    def families(self) -> tuple[str, ...]:
        """One family."""
        return (FAMILY,)

    def levels(self, family: str) -> tuple[int, ...]:
        """One level."""
        return (1,)

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """None: they may repeat themselves."""
        return None

    def task(self, family: str, level: int, index: int, split: str = "train") -> Task:
        """Task `index` of a split."""
        rng = stream(self.seed, FAMILY, self.num_digits, split, index)
        draft = draw_of_split(lambda: self._make(rng), FAMILY, level, split)
        return Task(
            task_id=f"{FAMILY}-{self.num_digits}-{split}-{self.seed}-{index}",
            family=FAMILY,
            level=1,
            prompt=(said("user", draft.question),),
            private=Private(draft.answer, solution=draft.solution),
            judge=Reference("evolvent.rewards:exact"),
            origin=Origin(how="drawn"),
            split=split,
        )

    def _make(self, rng: random.Random) -> Draft:
        number = str(rng.randrange(10 ** (self.num_digits - 1), 10**self.num_digits))
        return Draft(f"{number}?", number, solution=(said("assistant", number),))
