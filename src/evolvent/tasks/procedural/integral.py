"""An antiderivative of a polynomial; the check differentiates, so any constant is right."""

from __future__ import annotations

import random
import re
from fractions import Fraction

from evolvent.records import Reference, Score, Task, said
from evolvent.tasks.procedural import polynomials
from evolvent.tasks.procedural.draft import Draft

LEVELS = (1, 2, 3, 4, 5)
JUDGE = Reference("evolvent.tasks.procedural.integral:check")

NUM_TERMS = {1: 1, 2: 2, 3: 3, 4: 2, 5: 3}
MAX_POWER = {1: 5, 2: 5, 3: 6, 4: 6, 5: 9}
MAX_COEFFICIENT = {1: 20, 2: 9, 3: 9, 4: 12, 5: 20}
FIRST_FRACTIONAL_LEVEL = 4


def make(rng: random.Random, level: int) -> Draft:
    """A polynomial to integrate; up to level 3 the coefficients of the answer are whole."""
    powers = rng.sample(range(MAX_POWER[level]), NUM_TERMS[level])
    top = MAX_COEFFICIENT[level]
    drawn = {power: Fraction(rng.choice((-1, 1)) * rng.randint(1, top)) for power in powers}
    if level >= FIRST_FRACTIONAL_LEVEL:
        integrand: polynomials.Polynomial = drawn
    else:
        integrand = polynomials.derivative({power + 1: value for power, value in drawn.items()})
    answer = polynomials.write(polynomials.antiderivative(integrand))
    question = polynomials.write(integrand)
    return Draft(f"integrate {question}", answer, data={"integrand": question}, solution=(said("assistant", answer),))


def check(task: Task, answer: str) -> Score:
    """1 where the derivative of the answer is the integrand; a trailing +C is allowed."""
    assert task.private is not None
    try:
        found = polynomials.parse(re.sub(r"[+-]\s*[cCkK]\s*$", "", answer))
    except ValueError as error:
        return Score(0.0, why=f"cannot be read: {error}")
    slope = polynomials.derivative(found)
    right = slope == polynomials.parse(task.private.data["integrand"])
    return Score(float(right), why=f"its derivative is {polynomials.write(slope)}")
