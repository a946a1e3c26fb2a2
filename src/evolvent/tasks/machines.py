"""Machines run from a start that must be found: a run is easy to make and to check, and hard to foresee."""

from __future__ import annotations

import random
import string
from dataclasses import dataclass

from evolvent.errors import BadInput
from evolvent.records import Origin, Private, Reference, Score, Task, said
from evolvent.seeds import stream
from evolvent.tasks.procedural import Draft, draw_of_split

__all__ = ["Machines", "any_run", "check", "runs_of"]

FAMILY = "machines"
DIGITS, LETTERS = string.digits, string.ascii_lowercase
RIGHT, WRONG = "+-"
HONEST = 0.3


@dataclass(frozen=True, slots=True)
class Machines:
    """Which of `num_starts` digits ends at the given one: 47 acb 3? is answered by its whole run, such as 4a1c2b3+.

    Each letter turns every digit into another, always in the same way, which examples teach. Whoever writes a run
    chooses its start before the end is known, and marks at the end whether it is the right one: - where it is not.
    """

    num_starts: int = 2
    num_steps: int = 3
    num_rules: int = 5
    num_digits: int = 6
    seed: int = 0

    def __post_init__(self) -> None:
        fits = 2 <= self.num_starts <= self.num_digits <= len(DIGITS)
        if not (fits and self.num_steps >= 1 and 1 <= self.num_rules <= len(LETTERS)):
            raise BadInput(
                "no such machines",
                where="Machines",
                got=self,
                wanted="2 starts or more among up to 10 digits, >= 1 step, 1 to 26 rules",
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
        shape = (self.num_starts, self.num_steps, self.num_rules, self.num_digits)
        rng = stream(self.seed, FAMILY, *shape, split, index)
        draft = draw_of_split(lambda: self._make(rng), FAMILY, level, split)
        return Task(
            task_id=f"{FAMILY}-{'-'.join(map(str, shape))}-{split}-{self.seed}-{index}",
            family=FAMILY,
            level=1,
            prompt=(said("user", draft.question),),
            private=Private(draft.answer, data=draft.data, solution=draft.solution),
            judge=Reference("evolvent.tasks.machines:check"),
            origin=Origin(how="drawn"),
            split=split,
        )

    def _make(self, rng: random.Random) -> Draft:
        program = "".join(rng.choices(LETTERS[: self.num_rules], k=self.num_steps))
        starts = rng.sample(DIGITS[: self.num_digits], self.num_starts)
        ran = [run(start, program, self.num_digits) for start in starts]
        goal = ran[0][-1]
        runs = tuple(words + (RIGHT if words[-1] == goal else WRONG) for words in ran)
        answer = runs[0]
        question = f"{''.join(sorted(starts))} {program} {goal}?"
        return Draft(question, answer, data={"runs": runs}, solution=(said("assistant", answer),))


def check(task: Task, answer: str) -> Score:
    """1 for the right run, HONEST for one that says itself that it is not: else practice would teach to claim it."""
    right, *others = runs_of(task)
    if answer == right:
        return Score(1.0, why="the right run")
    if answer in others:
        return Score(HONEST, why="another run, marked as such")
    return Score(0.0, why=f"no run: {answer[:40]!r}")


def run(start: str, program: str, num_digits: int = 6) -> str:
    """What becomes of a start, letter by letter: 4a1c2b3."""
    words = start
    for letter in program:
        words += letter + _rule(letter, num_digits)[int(words[-1])]
    return words


def _rule(letter: str, num_digits: int) -> str:
    """What a letter makes of each digit: no two alike, so only one start ends at a given digit."""
    return "".join(stream(0, FAMILY, letter, num_digits).sample(DIGITS[:num_digits], num_digits))


def runs_of(task: Task) -> tuple[str, ...]:
    """The runs from every start of a task, the right one first."""
    assert task.private is not None
    return tuple(task.private.data["runs"])


def any_run(task: Task, rng: random.Random) -> str:
    """A run from any of the starts: what somebody says who does not look where it ends."""
    return rng.choice(runs_of(task))
