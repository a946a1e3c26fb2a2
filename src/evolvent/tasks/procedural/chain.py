"""Chained arithmetic: an expression with one more number for each level, too long to be done in the head."""

from __future__ import annotations

import random

from evolvent.records import Message, Reference, ToolCall, said
from evolvent.tasks.procedural.draft import Draft

LEVELS = (1, 2, 3, 4, 5, 6, 7, 8)
JUDGE = Reference("evolvent.rewards.verify:exact")


def make(rng: random.Random, level: int) -> Draft:
    """`level` operations on numbers of one to three digits, such as 7*48-231+5?"""
    numbers, signs = [_number(rng, 3)], []
    for _ in range(level):
        signs.append(rng.choice("+-*"))
        numbers.append(_number(rng, 2 if signs[-1] == "*" else 3))
    expression = str(numbers[0]) + "".join(f"{s}{n}" for s, n in zip(signs, numbers[1:], strict=True))
    answer = str(value(numbers, signs))
    call = Message("assistant", (ToolCall("calc", {"expression": expression}),))
    return Draft(f"{expression}?", answer, solution=(call, said("assistant", answer)))


def _number(rng: random.Random, max_digits: int) -> int:
    # as many short numbers as long ones, so that expressions of one level differ in length and overlap with the next
    return rng.randint(1, 10 ** rng.randint(1, max_digits) - 1)


def value(numbers: list[int], signs: list[str]) -> int:
    """The value of numbers joined by + - *, products first."""
    terms = [numbers[0]]
    for sign, number in zip(signs, numbers[1:], strict=True):
        if sign == "*":
            terms[-1] *= number
        else:
            terms.append(number if sign == "+" else -number)
    return sum(terms)
