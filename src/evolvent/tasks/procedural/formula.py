"""Named numbers and a formula over them: put the numbers in, and have the sum done by somebody who can."""

from __future__ import annotations

import random
import string

from evolvent.records import Message, Reference, ToolCall, said
from evolvent.tasks.procedural.draft import Draft

LEVELS = (1, 2, 3, 4, 5, 6, 7, 8)
JUDGE = Reference("evolvent.rewards.verify:exact")


def make(rng: random.Random, level: int) -> Draft:
    """`level` + 1 variables of one to three digits, each used once, in an order of its own: k=47,b=8;b*k?"""
    names = rng.sample(string.ascii_lowercase, level + 1)
    values = {name: rng.randint(2, 10 ** rng.randint(1, 3) - 1) for name in names}
    used = rng.sample(names, len(names))
    signs = [rng.choice("+-*") for _ in used[1:]] + ["?"]
    formula = "".join(name + sign for name, sign in zip(used, signs, strict=True))
    expression = "".join(f"{values[name]}{sign}" for name, sign in zip(used, [*signs[:-1], ""], strict=True))
    answer = str(eval(expression))  # noqa: S307
    question = ",".join(f"{n}={v}" for n, v in values.items()) + ";" + formula
    call = Message("assistant", (ToolCall("calc", {"expression": expression}),))
    return Draft(question, answer, solution=(call, said("assistant", answer)))
