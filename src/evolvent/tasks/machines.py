"""Machines run from a start that must be found: a run is easy to make and to check, and hard to foresee."""

from __future__ import annotations

import random
import string
from dataclasses import dataclass

from evolvent.errors import BadInput
from evolvent.records import Origin, Private, Reference, Task, said
from evolvent.seeds import stream
from evolvent.tasks.procedural import Draft, draw_of_split

__all__ = ["Machines", "any_run", "runs_of"]

FAMILY = "machines"
DIGITS = string.digits


@dataclass(frozen=True, slots=True)
class Machines:
    """Which of `num_starts` digits ends at the given one: 479 acbd 3? is answered by its whole run, such as 47293.

    Each letter turns every digit into another, always in the same way, which examples teach. Whoever writes a run
    chooses its start before the end is known; whether a run that is there ends where it should is plain to see.
    """

    num_starts: int = 3
    num_steps: int = 4
    num_rules: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if not (2 <= self.num_starts <= len(DIGITS) and self.num_steps >= 1 and 1 <= self.num_rules <= 26):
            raise BadInput(
                "no such machines", where="Machines", got=self, wanted="2 to 10 starts, >= 1 step, 1 to 26 rules"
            )

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
        """Task `index` of a split; the machines themselves are the same under every seed."""
        shape = (self.num_starts, self.num_steps, self.num_rules)
        rng = stream(self.seed, FAMILY, *shape, split, index)
        draft = draw_of_split(lambda: self._make(rng), FAMILY, level, split)
        return Task(
            task_id=f"{FAMILY}-{'-'.join(map(str, shape))}-{split}-{self.seed}-{index}",
            family=FAMILY,
            level=1,
            prompt=(said("user", draft.question),),
            private=Private(draft.answer, data=draft.data, solution=draft.solution),
            judge=Reference("evolvent.rewards:exact"),
            origin=Origin(how="drawn"),
            split=split,
        )

    def _make(self, rng: random.Random) -> Draft:
        program = "".join(rng.choices(string.ascii_lowercase[: self.num_rules], k=self.num_steps))
        runs = tuple(run(start, program) for start in rng.sample(DIGITS, self.num_starts))
        starts = "".join(sorted(found[0] for found in runs))
        answer = runs[0]
        question = f"{starts} {program} {answer[-1]}?"
        return Draft(question, answer, data={"runs": runs}, solution=(said("assistant", answer),))


def run(start: str, program: str) -> str:
    """The digits that a program goes through, its start first."""
    digits = start
    for letter in program:
        digits += _rule(letter)[int(digits[-1])]
    return digits


def _rule(letter: str) -> str:
    """What a letter makes of each digit: no two alike, so only one start ends at a given digit."""
    return "".join(stream(0, FAMILY, letter).sample(DIGITS, len(DIGITS)))


def runs_of(task: Task) -> tuple[str, ...]:
    """The runs from every start of a task, the right one first."""
    assert task.private is not None
    return tuple(task.private.data["runs"])


def any_run(task: Task, rng: random.Random) -> str:
    """A run from any of the starts: what somebody says who does not look where it ends."""
    return rng.choice(runs_of(task))
