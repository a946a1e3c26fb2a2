"""Operators and elimination for tasks that are programs: the program is edited, its words and its answer follow."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from evolvent.records import Task
from evolvent.synthesis.evolve import Operator, Rule
from evolvent.tasks.word_programs import ENDS, NUMERIC, Program, Step, draw_step, draw_word, program_of, task_of

__all__ = ["IN_BREADTH", "IN_DEPTH", "OPERATORS", "RULES", "adds_nothing", "answer_fails", "copies_operator"]

ALPHABET = "abcdef"  # so few that a small model learns steps, and not letters
MAX_ANSWER = 40  # characters
OPERATOR_WORDS = re.compile(
    r"\b(constraints?|rewrit\w+|evolv\w+|deepen\w*|concreti\w+|reasoning|prompts?|breadth)\b|#", re.IGNORECASE
)


# ---------------------------------------------------------------- operators


def add_constraint(task: Task, rng: random.Random) -> Task:
    """One step is only taken from a certain length on."""
    program = program_of(task)
    # a count that is not taken would leave letters for the steps on numbers
    free = [i for i, s in enumerate(program.steps) if not s.least and s.name not in (*NUMERIC, "count")]
    if not free:
        return task
    place = rng.choice(free)
    length = len((program.word, *program.results())[place])
    bound = max(2, length + rng.choice((-1, 0, 1, 2)))
    return _with(task, program.with_step(place, replace(program.steps[place], least=bound)))


def deepen(task: Task, rng: random.Random) -> Task:
    """A number of a step grows."""
    program = program_of(task)
    grows = [i for i, step in enumerate(program.steps) if step.number or step.name == "double"]
    if not grows:
        return task
    place = rng.choice(grows)
    step = program.steps[place]
    return _with(task, program.with_step(place, replace(step, number=max(step.number, 1) + 1)))


def concretise(task: Task, rng: random.Random) -> Task:
    """A step on the whole word becomes one on its first letters."""
    program = program_of(task)
    whole = [i for i, step in enumerate(program.steps) if step.name in ("reverse", "sort") and not step.number]
    if not whole:
        return task
    place = rng.choice(whole)
    return _with(task, program.with_step(place, replace(program.steps[place], number=rng.randint(2, 4))))


def add_step(task: Task, rng: random.Random) -> Task:
    """One more step of reasoning, on what the others gave."""
    program = program_of(task)
    last = program.results()[-1]
    if program.is_counted:
        step = Step(rng.choice(NUMERIC), rng.randint(2, 9))
    elif len(last) < 2:  # too short for most steps
        return task
    else:
        step = draw_step(rng.choice(ENDS), last, rng, ALPHABET)
    return _with(task, replace(program, steps=(*program.steps, step)))


def complicate_input(task: Task, rng: random.Random) -> Task:
    """Two more letters in the word."""
    program = program_of(task)
    word = program.word
    for _ in range(2):
        place = rng.randint(0, len(word))
        word = word[:place] + rng.choice(program.word) + word[place:]
    return _with(task, replace(program, word=word))


def breadth(task: Task, rng: random.Random) -> Task:
    """A new program of the same length on a new word."""
    program = program_of(task)
    return _with(task, draw_program(rng, len(program.word), len(program.steps)))


def draw_program(rng: random.Random, num_letters: int, num_steps: int) -> Program:
    """A program of so many steps on words, no step twice in a row."""
    program = Program(draw_word(rng, num_letters, ALPHABET), ())
    for _ in range(num_steps):
        before = (program.word, *program.results())[-1]
        taken = program.steps[-1].name if program.steps else ""
        names = [name for name in ENDS if name != taken and (name != "cut" or len(before) > 1)]
        step = draw_step(rng.choice(names), before, rng, ALPHABET)
        program = replace(program, steps=(*program.steps, step))
    return program


IN_DEPTH: Mapping[str, Operator] = MappingProxyType(
    {
        "add constraint": add_constraint,
        "deepen": deepen,
        "concretise": concretise,
        "add step": add_step,
        "complicate input": complicate_input,
    }
)
IN_BREADTH: Mapping[str, Operator] = MappingProxyType({"breadth": breadth})
OPERATORS: Mapping[str, Operator] = MappingProxyType({**IN_DEPTH, **IN_BREADTH})


def _with(task: Task, program: Program) -> Task:
    return task_of(program, task.task_id, task.origin, family=task.family, level=task.level, split=task.split)


# ---------------------------------------------------------------- elimination


def adds_nothing(child: Task, parent: Task) -> str:
    """Nothing is gained over the parent: the same words, the same results for the same conditions, or an idle step."""
    ours, theirs = program_of(child), program_of(parent)
    same = ours.results() == theirs.results() and _bounds(ours.steps) == _bounds(theirs.steps)
    is_idle = _num_idle(ours) > _num_idle(theirs)
    return "adds nothing to its parent" if child.question == parent.question or same or is_idle else ""


def answer_fails(child: Task, parent: Task) -> str:
    """The answer that came with it is empty, too long, or not what the program gives when it is executed."""
    answer = child.private.answer if child.private is not None else ""
    if not answer.strip():
        return "empty answer"
    if len(answer) > MAX_ANSWER:
        return "answer too long"
    return "" if answer == program_of(child).results()[-1] else "wrong answer"


def copies_operator(child: Task, parent: Task) -> str:
    """The task's words are those of its making."""
    return "copies the operator" if OPERATOR_WORDS.search(child.question) else ""


RULES: tuple[Rule, ...] = (answer_fails, adds_nothing, copies_operator)


def _bounds(steps: Sequence[Step]) -> list[int]:
    return [step.least for step in steps if step.least]


def _num_idle(program: Program) -> int:
    """How many steps without a condition change nothing."""
    made = (program.word, *program.results())
    return sum(not s.least and made[i] == made[i + 1] for i, s in enumerate(program.steps))
