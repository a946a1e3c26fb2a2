"""An antiderivative of a sum of elementary terms; the check differentiates, so any constant is right."""

from __future__ import annotations

import random
import re
from fractions import Fraction

from evolvent.records import Reference, Score, Task, said
from evolvent.tasks.procedural import terms
from evolvent.tasks.procedural.draft import Draft

LEVELS = (1, 2, 3, 4, 5)
JUDGE = Reference("evolvent.tasks.procedural.antiderivative:check")

MAX_COEFFICIENT = 4
BASES: tuple[terms.Base, ...] = (
    *(("x", power) for power in (1, 2, 3, 4)),
    *((name, 1) for name in ("sin", "cos")),
)
"""What an antiderivative is made of; no two have slopes of one kind."""


def make(rng: random.Random, level: int) -> Draft:
    """`level` terms, drawn as the antiderivative and differentiated, so that every coefficient is whole."""
    drawn = draw_terms(rng, level)
    return draft(drawn)


def draw_terms(rng: random.Random, num: int) -> terms.Terms:
    """`num` terms of different bases."""
    return {base: draw_coefficient(rng) for base in rng.sample(BASES, num)}


def draw_coefficient(rng: random.Random) -> Fraction:
    """A small whole number other than 0."""
    return Fraction(rng.choice((-1, 1)) * rng.randint(1, MAX_COEFFICIENT))


def draft(primitive: terms.Terms) -> Draft:
    """The problem whose answer this is."""
    answer, integrand = terms.write(primitive), terms.write(terms.derivative(primitive))
    return Draft(f"integrate {integrand}", answer, data={"integrand": integrand}, solution=(said("assistant", answer),))


def check(task: Task, answer: str) -> Score:
    """1 where the derivative of the answer is the integrand; a trailing +C is allowed."""
    assert task.private is not None
    try:
        found = terms.parse(re.sub(r"[+-]\s*[cCkK]\s*$", "", answer))
    except ValueError as error:
        return Score(0.0, why=f"cannot be read: {error}")
    slope = terms.derivative(found)
    right = slope == terms.parse(task.private.data["integrand"])
    return Score(float(right), why=f"its derivative is {terms.write(slope)}")
