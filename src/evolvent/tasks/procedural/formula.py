"""Named numbers and a formula over them: put the numbers in, and have the sum done by somebody who can."""

from __future__ import annotations

import random
import string

from evolvent.records import Message, Reference, ToolCall, said
from evolvent.tasks.procedural.chain import value
from evolvent.tasks.procedural.draft import Draft

LEVELS = (1, 2, 3, 4, 5, 6)
JUDGE = Reference("evolvent.rewards.verify:exact")


def make(rng: random.Random, level: int) -> Draft:
    """`level` + 1 variables of one to three digits, each used once, in an order of its own: k=47,b=8;b*k?"""
    names = rng.sample(string.ascii_lowercase, level + 1)
    given = {name: rng.randint(2, 10 ** rng.randint(1, 3) - 1) for name in names}
    used = rng.sample(names, len(names))
    signs = [rng.choice("+-*") for _ in used[1:]]
    formula = used[0] + "".join(sign + name for sign, name in zip(signs, used[1:], strict=True))
    numbers = [given[name] for name in used]
    expression = str(numbers[0]) + "".join(f"{s}{n}" for s, n in zip(signs, numbers[1:], strict=True))
    answer = str(value(numbers, signs))
    question = ",".join(f"{name}={number}" for name, number in given.items()) + f";{formula}?"
    call = Message("assistant", (ToolCall("calc", {"expression": expression}),))
    return Draft(question, answer, solution=(call, said("assistant", answer)))
