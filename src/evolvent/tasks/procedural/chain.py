"""Chained arithmetic: each line needs the result of the one before, so the agent calls its tool once per line."""

from __future__ import annotations

import os
import random
import string

from evolvent.records import Message, Reference, Text, ToolCall, said
from evolvent.tasks.procedural.draft import Draft

LEVELS = (1, 2, 3, 4, 5, 6, 7, 8)
JUDGE = Reference("evolvent.rewards.verify:exact")
EXTRA = int(os.environ.get("EXTRA", "0"))
LABEL = int(os.environ.get("LABEL", "0"))


def make(rng: random.Random, level: int) -> Draft:
    """`level` steps from a first number: k=47;q=k*8;z=q-123;z?"""
    lines = level + rng.randint(0, EXTRA)
    names = rng.sample(string.ascii_lowercase, lines + 1)
    value = rng.randint(10, 99)
    question = f"{names[0]}={value};"
    solution = []
    answer = ""
    for number, (before, name) in enumerate(zip(names, names[1:], strict=False)):
        sign, operand = rng.choice("+-*"), rng.randint(2, 99)
        sign = sign if abs(value) < 10000 else rng.choice("+-")
        operand = operand if sign != "*" else rng.randint(2, 9)
        if number < level:
            label = (Text(f"{name}="),) if LABEL else ()
            solution.append(Message("assistant", (*label, ToolCall("calc", {"expression": f"{value}{sign}{operand}"}))))
            value = {"+": value + operand, "-": value - operand, "*": value * operand}[sign]
            answer = str(value)
        question += f"{name}={before}{sign}{operand};"
    return Draft(f"{question}{names[level]}?", answer, solution=(*solution, said("assistant", answer)))
