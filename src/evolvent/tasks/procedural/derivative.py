"""The derivative of a polynomial; more terms, higher powers and larger numbers with the level."""

from __future__ import annotations

import random
from fractions import Fraction

from evolvent.records import Reference, Score, Task, said
from evolvent.tasks.procedural import polynomials
from evolvent.tasks.procedural.draft import Draft

LEVELS = (1, 2, 3, 4, 5)
JUDGE = Reference("evolvent.tasks.procedural.derivative:check")

NUM_TERMS = {1: 1, 2: 2, 3: 3, 4: 3, 5: 4}
MAX_POWER = {1: 5, 2: 5, 3: 6, 4: 9, 5: 12}
MAX_COEFFICIENT = {1: 20, 2: 9, 3: 9, 4: 30, 5: 99}


def make(rng: random.Random, level: int) -> Draft:
    """A polynomial to differentiate."""
    powers = rng.sample(range(MAX_POWER[level] + 1), NUM_TERMS[level])
    top = MAX_COEFFICIENT[level]
    polynomial = {power: Fraction(rng.choice((-1, 1)) * rng.randint(1, top)) for power in powers}
    answer = polynomials.write(polynomials.derivative(polynomial))
    return Draft(f"d/dx {polynomials.write(polynomial)}", answer, solution=(said("assistant", answer),))


def check(task: Task, answer: str) -> Score:
    """1 where the answer is the same polynomial as the reference, however it is written."""
    assert task.private is not None
    try:
        said_polynomial = polynomials.parse(answer)
    except ValueError as error:
        return Score(0.0, why=f"cannot be read: {error}")
    wanted = polynomials.parse(task.private.answer)
    right = said_polynomial == wanted
    return Score(float(right), why=f"{polynomials.write(said_polynomial)} {'is' if right else 'is not'} the derivative")
