"""Running totals: sums that can be done in the head, mostly, so that a calculator has something to compete with."""

from __future__ import annotations

import random
import string
from dataclasses import dataclass
from itertools import pairwise

from evolvent.errors import BadInput
from evolvent.records import Message, Origin, Private, Reference, Task, ToolCall, said
from evolvent.seeds import stream
from evolvent.tasks.procedural import Draft, draw_of_split

__all__ = ["Tallies"]

FAMILY = "tallies"
MAX_LINES = 25  # letters behind the first


@dataclass(frozen=True, slots=True)
class Tallies:
    """Totals that each add to the one before or take from it: k=47;q=k+8;z=q-3;z?

    The level is how many totals there are to work out, at most `num_lines`. The first number has two digits, what is
    added or taken is between 2 and `most`.
    """

    num_lines: int = 4
    most: int = 9

    def __post_init__(self) -> None:
        if not 1 <= self.num_lines <= MAX_LINES or self.most < 2:
            raise BadInput("no such totals", where="Tallies", got=self, wanted=f"1 to {MAX_LINES} lines, most >= 2")

    @property
    def families(self) -> tuple[str, ...]:
        """One family."""
        return (FAMILY,)

    def levels(self, family: str) -> tuple[int, ...]:
        """From one total to `num_lines`."""
        return tuple(range(1, self.num_lines + 1))

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """None: they never run out."""
        return None

    def task(self, family: str, level: int, index: int, split: str = "train") -> Task:
        """Task `index` of a level, worked by one call for each total."""
        rng = stream(0, FAMILY, self.most, level, split, index)
        draft = draw_of_split(lambda: self._make(rng, level), FAMILY, level, split)
        return Task(
            task_id=f"{FAMILY}-{self.most}-{level}-{split}-{index}",
            family=FAMILY,
            level=level,
            prompt=(said("user", draft.question),),
            private=Private(draft.answer, solution=draft.solution),
            judge=Reference("evolvent.rewards:numeric"),
            origin=Origin(how="drawn"),
            split=split,
        )

    def _make(self, rng: random.Random, level: int) -> Draft:
        names = rng.sample(string.ascii_lowercase, level + 1)
        total = rng.randint(10, 99)
        lines, calls = [f"{names[0]}={total}"], []
        for before, name in pairwise(names):
            sign, number = rng.choice("+-"), rng.randint(2, self.most)
            calls.append(Message("assistant", (ToolCall("calc", {"expression": f"{total}{sign}{number}"}),)))
            lines.append(f"{name}={before}{sign}{number}")
            total += number if sign == "+" else -number
        return Draft(f"{';'.join(lines)};{names[-1]}?", str(total), solution=(*calls, said("assistant", str(total))))
