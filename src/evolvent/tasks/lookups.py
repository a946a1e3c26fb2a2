"""Several small sums in one task, each tested by itself: what an attempt got right can be kept in the next one."""

from __future__ import annotations

import random
import re
import string
from dataclasses import dataclass

from evolvent.errors import BadInput
from evolvent.records import Origin, Private, Reference, Task, said
from evolvent.seeds import stream
from evolvent.tasks.procedural import Draft, draw_of_split

__all__ = ["Lookups", "items_of", "run_tests"]

FAMILY = "lookups"
ITEM = re.compile(r"([a-z])([0-9])([0-9])")


@dataclass(frozen=True, slots=True)
class Lookups:
    """Items such as "a35 b12 c40", which want the sums of their digits: with `modulus` 6, "a2 b3 c4".

    Digits are below the modulus, so there are modulus x modulus facts to know; `num_items` are asked for at a time.
    """

    num_items: int = 3
    modulus: int = 6

    def __post_init__(self) -> None:
        if not 1 <= self.num_items <= len(string.ascii_lowercase) or not 2 <= self.modulus <= 10:
            raise BadInput("no such items", where="Lookups", got=self, wanted="1 to 26 items, a modulus of 2 to 10")

    @property
    def families(self) -> tuple[str, ...]:
        """One family."""
        return (FAMILY,)

    def levels(self, family: str) -> tuple[int, ...]:
        """One level."""
        return (1,)

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """None: they are drawn, and may repeat themselves."""
        return None

    def task(self, family: str, level: int, index: int, split: str = "train") -> Task:
        """Task `index` of a split."""
        rng = stream(0, FAMILY, self.num_items, self.modulus, split, index)
        draft = draw_of_split(lambda: self._make(rng), FAMILY, level, split)
        return Task(
            task_id=f"{FAMILY}-{self.num_items}-{self.modulus}-{split}-{index}",
            family=FAMILY,
            level=1,
            prompt=(said("user", draft.question),),
            private=Private(draft.answer, {"modulus": self.modulus}, (said("assistant", draft.answer),)),
            judge=Reference("evolvent.rewards:exact"),
            origin=Origin(how="drawn"),
            split=split,
        )

    def _make(self, rng: random.Random) -> Draft:
        names = string.ascii_lowercase[: self.num_items]
        items = [(name, rng.randrange(self.modulus), rng.randrange(self.modulus)) for name in names]
        answer = " ".join(f"{name}{(first + second) % self.modulus}" for name, first, second in items)
        return Draft(" ".join(f"{name}{first}{second}" for name, first, second in items), answer)


def items_of(task: Task) -> list[tuple[str, int, int]]:
    """The items of a task: name and two digits each."""
    found = [ITEM.fullmatch(part) for part in task.question.split()]
    if not found or not all(found):
        raise BadInput("no items to look up", where=task.task_id, got=task.question, wanted="a35 b12 c40")
    return [(match[1], int(match[2]), int(match[3])) for match in found if match]


def run_tests(task: Task, answer: str) -> tuple[float, str]:
    """Public tests, one an item: the share that pass, and for each what was said and whether it is right, "a2y b4n".

    "?" stands for what was not said in its place.
    """
    assert task.private is not None
    wanted, given = task.private.answer.split(), answer.split()
    marks = []
    for number, right in enumerate(wanted):
        said_so = given[number] if number < len(given) else ""
        digit = said_so[1:] if re.fullmatch(rf"{right[0]}[0-9]", said_so) else "?"
        marks.append(f"{right[0]}{digit}{'y' if said_so == right else 'n'}")
    num_right = sum(mark.endswith("y") for mark in marks) if len(given) <= len(wanted) else 0
    return num_right / len(wanted), " ".join(marks)
