"""Programs over a word: steps in words and an executed answer, so that a task can be changed and stays right."""

from __future__ import annotations

import random
import string
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from evolvent.errors import BadInput
from evolvent.records import Origin, Private, Reference, Score, Task, said

JUDGE = Reference("evolvent.tasks.word_programs:check")
STEPS = ("reverse", "rotate", "upper", "double", "sort")
CLOSINGS = ("count", "drop")
ENDS = ("add", "cut", "lead", "double")  # steps at an end of a word, which copy the rest
NAMES = tuple(dict.fromkeys((*STEPS, *CLOSINGS, *ENDS, "plus", "times")))
NUMERIC = ("plus", "times")  # steps on what was counted
AFTER = ">"  # stands between the results of steps in a worked solution


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its name, the number or letter that it takes, and from which length of its input on it is taken."""

    name: str
    number: int = 0
    letter: str = ""
    least: int = 0

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise BadInput("no such step", where="Step.name", got=self.name, wanted=" | ".join(NAMES))

    @property
    def words(self) -> str:
        """What people are told to do."""
        said_so = {
            "rotate": f"first {self.number} to end",
            "upper": f"uppercase every {ordinal(self.number)}",
            "double": f"double the last {self.number} letters" if self.number > 1 else "double the last letter",
            "add": f"add {self.letter} behind",
            "lead": f"put {self.letter} in front",
            "cut": f"leave out the first {self.number} letters" if self.number > 1 else "leave out the first letter",
            "count": f"count {self.letter}",
            "drop": f"drop every {self.letter}",
            "plus": f"plus {self.number}",
            "times": f"times {self.number}",
        }.get(self.name, f"{self.name} the first {self.number}" if self.number else self.name)
        return f"{said_so} if {self.least} or longer" if self.least else said_so

    @property
    def terse(self) -> str:
        """The same in as few signs as a small model needs."""
        taken = self.letter or self.number or ""
        return f"{self.name}{taken and ' '}{taken}" + (f" if {self.least}+" if self.least else "")

    def apply(self, text: str) -> str:
        """What the step makes of a word, or of the digits that were counted."""
        if len(text) < self.least:
            return text
        head, tail = (text[: self.number], text[self.number :]) if self.number else (text, "")
        match self.name:
            case "reverse":
                return head[::-1] + tail
            case "sort":
                return "".join(sorted(head)) + tail
            case "rotate":
                return tail + head
            case "upper":
                raised = ((x.upper() if i % self.number == 0 else x) for i, x in enumerate(text, start=1))
                return "".join(raised)
            case "double":
                return text + text[-max(self.number, 1) :]
            case "add":
                return text + self.letter
            case "lead":
                return self.letter + text
            case "cut":
                return tail
            case "drop":
                return text.replace(self.letter, "")
            case "count":
                return str(text.count(self.letter))
        return str(int(text) + self.number) if self.name == "plus" else str(int(text) * self.number)


@dataclass(frozen=True, slots=True)
class Program:
    """A word and the steps to take on it, in order."""

    word: str
    steps: tuple[Step, ...]

    @property
    def words(self) -> str:
        """The task as people read it."""
        return f"{self.word}: {', '.join(step.words for step in self.steps)}"

    @property
    def terse(self) -> str:
        """The same in as few signs as a small model needs."""
        return f"{self.word}: {', '.join(step.terse for step in self.steps)}"

    def results(self) -> tuple[str, ...]:
        """What each step made, the answer last."""
        made = [self.word]
        for step in self.steps:
            made.append(step.apply(made[-1]))
        return tuple(made[1:])

    @property
    def is_counted(self) -> bool:
        """Whether the word has become a number."""
        return any(step.name == "count" for step in self.steps)

    def to_data(self) -> dict[str, Any]:
        """The program as JSON values."""
        return {"word": self.word, "steps": tuple((s.name, s.number, s.letter, s.least) for s in self.steps)}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Program:
        """The inverse of `to_data`."""
        return cls(data["word"], tuple(Step(*step) for step in data["steps"]))

    def with_step(self, place: int, step: Step) -> Program:
        """The program with another step at a place."""
        return replace(self, steps=(*self.steps[:place], step, *self.steps[place + 1 :]))


def draw_step(name: str, word: str, rng: random.Random, alphabet: str = string.ascii_lowercase) -> Step:
    """A step of this name that can be taken on `word`, its number or letter drawn; a new letter from `alphabet`."""
    if name in ("add", "lead"):
        return Step(name, letter=rng.choice(alphabet))
    if name == "cut":
        return Step(name, 1)
    if name == "rotate":
        return Step(name, rng.randint(1, min(3, len(word) - 1)))
    if name == "upper":
        return Step(name, rng.randint(2, 3))
    if name in CLOSINGS:
        letter = rng.choice(sorted(set(word)))
        # where the word is one letter over and over, dropping it would leave an empty answer
        return Step(name if word.replace(letter, "") else "count", letter=letter)
    return Step(name)


def draw_word(rng: random.Random, num_letters: int, alphabet: str = string.ascii_lowercase) -> str:
    """Few different letters, so that counting and dropping one of them changes something."""
    letters = rng.sample(alphabet, max(3, num_letters // 2))
    return "".join(rng.choice(letters) for _ in range(num_letters))


def task_of(program: Program, task_id: str, origin: Origin, *, family: str, level: int, split: str) -> Task:
    """A program as a task, in its terse words: the answer executed, the results of all steps as its worked solution."""
    results = program.results()
    return Task(
        task_id=task_id,
        family=family,
        level=level,
        prompt=(said("user", program.terse),),
        private=Private(results[-1], {"program": program.to_data()}, (said("assistant", AFTER.join(results)),)),
        judge=JUDGE,
        origin=origin,
        split=split,
    )


def program_of(task: Task) -> Program:
    """The program behind a task."""
    if task.private is None or "program" not in task.private.data:
        raise BadInput("this task is no program", where=task.task_id, wanted="one made by word_programs.task_of")
    return Program.of(task.private.data["program"])


def check(task: Task, answer: str) -> Score:
    """1 where what stands behind the last > is what the program gives."""
    wanted = program_of(task).results()[-1]
    got = answer.strip().split(AFTER)[-1].strip()
    return Score(float(got == wanted), why=f"{got[:80]!r} is {'' if got == wanted else 'not '}what the program gives")


def ordinal(number: int) -> str:
    """2 as 2nd and 3 as 3rd."""
    return {2: "2nd", 3: "3rd"}.get(number, f"{number}th")
