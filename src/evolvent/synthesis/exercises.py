"""Exercises in arithmetic as a domain of self-play: anything that reads as `a op b` is a problem."""

from __future__ import annotations

import re
from dataclasses import dataclass

from evolvent.records import Message, Origin, Private, Reference, Task, said
from evolvent.rollouts.selfplay import UNREADABLE, Proposal
from evolvent.seeds import stream
from evolvent.tasks.procedural import Draft, draw_of_split

FAMILY = "exercise"
READABLE = re.compile(r"(0|[1-9]\d*)([-+*])(0|[1-9]\d*)")


@dataclass(frozen=True, slots=True)
class DrawnExercises:
    """Exercises such as 47*83=?, answered at once; the level is how many digits both numbers have."""

    num_levels: int = 2
    seed: int = 0

    @property
    def families(self) -> tuple[str, ...]:
        """One."""
        return (FAMILY,)

    def levels(self, family: str) -> tuple[int, ...]:
        """From one digit up."""
        return tuple(range(1, self.num_levels + 1))

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """None: exercises are drawn."""
        return None

    def task(self, family: str, level: int, index: int, split: str = "train") -> Task:
        """Exercise `index` of a level; the splits share none."""
        rng = stream(self.seed, FAMILY, level, split, index)
        low, high = 10 ** (level - 1), 10**level - 1

        def draw() -> Draft:
            return Draft(f"{rng.randint(low, high)}{rng.choice('+-*')}{rng.randint(low, high)}=?", "")

        question = draw_of_split(draw, FAMILY, level, split).question
        return _task(f"{FAMILY}-{level}-{split}-{self.seed}-{index}", level, question, Origin("drawn"), split)


def _task(task_id: str, level: int, question: str, origin: Origin, split: str = "train") -> Task:
    found = READABLE.match(question)
    assert found is not None
    left, right = int(found[1]), int(found[3])
    answer = str({"+": left + right, "-": left - right, "*": left * right}[found[2]])
    judge = Reference("evolvent.rewards.verify:numeric")
    return Task(task_id, FAMILY, level, (said("user", question),), Private(answer), judge, origin, split)


@dataclass(frozen=True, slots=True)
class Exercises:
    """Two whole numbers of at most `max_digits` digits with +, - or * between them; the setter is given no example.

    The true answer is kept with each problem, so that labels made without it can be compared with it.
    """

    prompt: str = "a new exercise:"
    max_digits: int = 3

    @property
    def faults(self) -> tuple[str, ...]:
        """Whatever can be read is a problem."""
        return (UNREADABLE,)

    def ask(self, seed: Task) -> tuple[Message, ...]:
        """The same words for every seed."""
        return (said("user", self.prompt),)

    def show(self, seed: Task) -> str:
        """The seed's own exercise, such as 47*83."""
        return seed.question.removesuffix("=?")

    def read(self, seed: Task, words: str) -> Proposal:
        """The exercise in a setter's words."""
        found = READABLE.fullmatch(words)
        if found is None or max(len(found[1]), len(found[3])) > self.max_digits:
            return Proposal(None, UNREADABLE)
        task = _task(f"{seed.task_id}>{words}", seed.level, f"{words}=?", Origin("proposed", (seed.task_id,)))
        form = f"{len(found[1])}{found[2]}{len(found[3])}"  # digits, sign, digits
        return Proposal(
            task, key=words, form=form, problem=words, reference=task.private.answer if task.private else ""
        )
