"""Transformations of a string of digits; longer strings and more steps with the level."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from evolvent.records import Message, Reference, ToolCall, said
from evolvent.tasks.procedural.draft import Draft

LEVELS = (1, 2, 3, 4, 5)
JUDGE = Reference("evolvent.rewards.verify:exact")

NUM_DIGITS = {1: 3, 2: 5, 3: 5, 4: 8, 5: 8}
NUM_STEPS = {1: 1, 2: 1, 3: 2, 4: 2, 5: 3}


def make(rng: random.Random, level: int) -> Draft:
    """Digits and the steps to take on them, in order."""
    digits = "".join(rng.choice("0123456789") for _ in range(NUM_DIGITS[level]))
    names = rng.sample(list(STEPS), NUM_STEPS[level] - 1)
    # a closing step may give fewer digits, so it only stands last
    names.append(rng.choice([name for name in (*STEPS, *CLOSINGS) if name not in names]))
    before = digits
    for name in names[:-1]:
        before = STEPS[name](before)
    answer = {**STEPS, **CLOSINGS}[names[-1]](before)
    last = said("assistant", answer)
    call = Message("assistant", (ToolCall("calc", {"expression": "+".join(before)}),))
    return Draft(
        f"{digits}: {', '.join(names)}", answer, solution=(call, last) if names[-1] == "sum of digits" else (last,)
    )


def reverse(digits: str) -> str:
    """Last digit first."""
    return digits[::-1]


def ascending(digits: str) -> str:
    """Smallest digit first."""
    return "".join(sorted(digits))


def complement(digits: str) -> str:
    """Each digit d becomes 9-d."""
    return "".join(str(9 - int(d)) for d in digits)


def rotate(digits: str) -> str:
    """The first digit goes to the end."""
    return digits[1:] + digits[0]


def swap_ends(digits: str) -> str:
    """The first and the last digit change places."""
    return digits[-1] + digits[1:-1] + digits[0]


def total(digits: str) -> str:
    """The sum of the digits."""
    return str(sum(map(int, digits)))


def distinct(digits: str) -> str:
    """How many different digits there are."""
    return str(len(set(digits)))


STEPS: Mapping[str, Callable[[str], str]] = {
    "reverse": reverse,
    "sort": ascending,
    "9 minus each": complement,
    "first to end": rotate,
    "swap ends": swap_ends,
}
CLOSINGS: Mapping[str, Callable[[str], str]] = {
    "sum of digits": total,
    "largest digit": max,
    "count distinct": distinct,
}
