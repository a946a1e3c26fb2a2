"""Lines that each need the result of the one before: one tool call a line, k=47;q=k*8;z=q-123;z?"""

from __future__ import annotations

import itertools
import random
import string

from evolvent.records import Message, Reference, ToolCall, said
from evolvent.tasks.procedural.draft import Draft

LEVELS = (1, 2, 3, 4, 5, 6)
JUDGE = Reference("evolvent.rewards.verify:exact")
MAX_FACTOR, MAX_VALUE = 9, 10_000  # products stop where numbers would grow long


def make(rng: random.Random, level: int) -> Draft:
    """`level` lines to follow, and up to two more behind them that are not asked for."""
    num_lines = level + rng.randint(0, 2)
    names = rng.sample(string.ascii_lowercase, num_lines + 1)
    value = rng.randint(10, 99)
    values, calls, lines = [value], [], [f"{names[0]}={value}"]
    for before, name in itertools.pairwise(names):
        sign = rng.choice("+-*" if abs(value) < MAX_VALUE else "+-")
        operand = rng.randint(2, MAX_FACTOR if sign == "*" else 99)
        calls.append(Message("assistant", (ToolCall("calc", {"expression": f"{value}{sign}{operand}"}),)))
        value = {"+": value + operand, "-": value - operand, "*": value * operand}[sign]
        values.append(value)
        lines.append(f"{name}={before}{sign}{operand}")
    answer = str(values[level])
    return Draft(";".join(lines) + f";{names[level]}?", answer, solution=(*calls[:level], said("assistant", answer)))
