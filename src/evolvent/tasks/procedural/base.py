"""Writing a number in another base."""

from __future__ import annotations

import random
import re

from evolvent.records import Message, Reference, Score, Task, ToolCall, said
from evolvent.tasks.procedural.draft import Draft

LEVELS = (1, 2, 3, 4, 5)
JUDGE = Reference("evolvent.tasks.procedural.base:check")

DIGITS = "0123456789abcdef"
MAX_NUMBER = {1: 63, 2: 255, 3: 255, 4: 4095, 5: 65535}
MAX_BASE = {1: 2, 2: 2, 3: 9, 4: 16, 5: 16}


def make(rng: random.Random, level: int) -> Draft:
    """A number in one base to be written in another; one of the two is 10 up to level 4."""
    number = rng.randint(2, MAX_NUMBER[level])
    other = rng.choice([base for base in range(2, MAX_BASE[level] + 1) if base != 10])
    pair = [10, other]
    if level == LEVELS[-1]:
        pair = rng.sample([base for base in range(2, 17) if base != 10], 2)
    rng.shuffle(pair)
    source, target = pair
    question, answer = in_base(number, source), in_base(number, target)
    steps = [said("assistant", answer)]
    if target == 10:
        places = range(len(question) - 1, -1, -1)
        terms = [f"{DIGITS.index(digit)}*{source**place}" for digit, place in zip(question, places, strict=True)]
        steps.insert(0, Message("assistant", (ToolCall("calc", {"expression": "+".join(terms)}),)))
    return Draft(
        f"{question} base {source} to base {target}",
        answer,
        data={"base": target},
        solution=tuple(steps),
    )


def in_base(number: int, base: int) -> str:
    """A positive number in a base of 2 to 16."""
    digits = ""
    while number:
        number, digit = divmod(number, base)
        digits = DIGITS[digit] + digits
    return digits


def check(task: Task, answer: str) -> Score:
    """1 where the answer reads as the same number; capitals and leading zeros do not matter."""
    assert task.private is not None
    base = int(task.private.data["base"])
    if not re.fullmatch(r"[0-9a-fA-F]{1,64}", answer):
        return Score(0.0, why="not a number")
    try:
        found = int(answer, base)
    except ValueError:
        return Score(0.0, why=f"has digits that base {base} does not have")
    right = found == int(task.private.answer, base)
    return Score(float(right), why="the same number" if right else f"is {found} in base 10")
