"""Small programs to reason about, drawn at random as a source, and proposed by an agent as a domain of self-play."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from evolvent.records import Message, Origin, Private, Reference, Task, said
from evolvent.rewards.programs import ABDUCTION, DEDUCTION, INDUCTION, MODES, is_number, is_program, outputs, shown
from evolvent.rollouts.selfplay import UNREADABLE, Proposal
from evolvent.seeds import stream
from evolvent.tasks.procedural import Draft, draw_of_split

USELESS = "useless"
NUM_PAIRS = 4  # of input and output for an inducer, half of them shown
CHECK = Reference("evolvent.rewards.programs:check")


@dataclass(frozen=True, slots=True)
class Triplets:
    """Problems from (program, input, output): a program is x with one or two of + - % and 2 to 5, as x+4%3."""

    seed: int = 0

    @property
    def families(self) -> tuple[str, ...]:
        """Which of the three is to be found: the output, the input, or the program."""
        return MODES

    def levels(self, family: str) -> tuple[int, ...]:
        """One level."""
        return (1,)

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """None: problems are drawn."""
        return None

    def task(self, family: str, level: int, index: int, split: str = "train") -> Task:
        """Problem `index` of a mode; the splits share no question."""
        rng = stream(self.seed, family, split, index)
        found: list[Task] = []

        def draw() -> Draft:
            found.append(_drawn(family, rng, f"{family}-{split}-{self.seed}-{index}", split))
            return Draft(found[-1].question, "")

        draw_of_split(draw, family, level, split)
        return found[-1]


def _drawn(family: str, rng: random.Random, task_id: str, split: str) -> Task:
    while True:
        program = "x" + "".join(rng.choice("+-%") + str(rng.randint(2, 5)) for _ in range(rng.randint(1, 2)))
        inputs = rng.sample(range(10), NUM_PAIRS if family == INDUCTION else 1)
        task = pose(family, program, inputs, task_id, Origin("drawn"), split)
        if task is not None:
            return task


def pose(
    family: str, program: str, inputs: Sequence[int], task_id: str, origin: Origin, split: str = "train"
) -> Task | None:
    """The problem of a mode about a program and inputs; None where the program cannot be run on them."""
    made = outputs(program, tuple(inputs))
    if made is None:
        return None
    pairs = list(zip(inputs, made, strict=True))
    question, answer = {
        DEDUCTION: (f"{program} of {inputs[0]} is", str(made[0])),
        ABDUCTION: (f"{program} of ? is {made[0]}", str(inputs[0])),
        INDUCTION: (f"? of {shown(pairs[: len(pairs) // 2])}", program),
    }[family]
    data = {"program": program, "inputs": list(inputs), "outputs": list(made)}
    return Task(task_id, family, 1, (said("user", question),), Private(answer, data), CHECK, origin, split)


@dataclass(frozen=True, slots=True)
class Programs:
    """Proposals: a program and an input ("x*7%5 of 3"), or for induction inputs for a given program ("3 1 4 7").

    A share `broken_frac` of what a cold start shows is of no use, so that there is something to learn.
    """

    broken_frac: float = 0.0
    faults: ClassVar[tuple[str, ...]] = (UNREADABLE, USELESS)

    def ask(self, seed: Task) -> tuple[Message, ...]:
        """The mode, and for induction the seed's program."""
        given = f" {_data(seed)[0]}" if seed.family == INDUCTION else ""
        return (said("user", f"new {seed.family}{given}"),)

    def show(self, seed: Task) -> str:
        """The seed's own program and input, or a broken one."""
        program, inputs = _data(seed)
        rng = stream(0, "broken", seed.task_id)
        words = " ".join(map(str, inputs)) if seed.family == INDUCTION else f"{program} of {inputs[0]}"
        if rng.random() >= self.broken_frac:
            return words
        cut = words[: rng.randint(1, len(words) - 1)]
        return cut if seed.family == INDUCTION else rng.choice([cut, f"{program}%0 of {inputs[0]}", f"{program} of x"])

    def read(self, seed: Task, words: str) -> Proposal:
        """A problem, if the interpreter can run it, twice alike."""
        if seed.family == INDUCTION:
            program, given = _data(seed)[0], words.split(" ")
            fits = len(given) == NUM_PAIRS
        else:
            program, _, number = words.partition(" of ")
            given, fits = [number], is_program(program)
        if not fits or not all(map(is_number, given)):
            return Proposal(None, UNREADABLE)
        inputs = [int(number) for number in given]
        origin = Origin("proposed", (seed.task_id,))
        task = pose(seed.family, program, inputs, f"{seed.task_id}-proposed", origin)
        if task is None or len(set(inputs)) < len(inputs):
            return Proposal(None, USELESS, problem=words)
        assert task.private is not None
        return Proposal(task, key=words, form=seed.family, problem=task.question, reference=task.private.answer)


def _data(seed: Task) -> tuple[str, list[int]]:
    assert seed.private is not None
    return str(seed.private.data["program"]), [int(value) for value in seed.private.data["inputs"]]
