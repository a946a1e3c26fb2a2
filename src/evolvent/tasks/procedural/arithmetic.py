"""One expression of two numbers; the digits grow with the level."""

from __future__ import annotations

import random

from evolvent.records import Message, Reference, ToolCall, said
from evolvent.tasks.procedural.draft import Draft

LEVELS = (1, 2, 3, 4, 5, 6)
JUDGE = Reference("evolvent.rewards.verify:numeric")


def make(rng: random.Random, level: int) -> Draft:
    """An expression such as 47*83, each number with `level` digits."""
    low, high = 10 ** (level - 1), 10**level - 1
    left, right = rng.randint(low, high), rng.randint(low, high)
    sign = rng.choice("+-*")
    value = {"+": left + right, "-": left - right, "*": left * right}[sign]
    expression = f"{left}{sign}{right}"
    call = Message("assistant", (ToolCall("calc", {"expression": expression}),))
    return Draft(f"{expression}=?", str(value), solution=(call, said("assistant", str(value))))
