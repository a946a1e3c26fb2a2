"""A polynomial as a product of linear factors; the check multiplies them out."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from fractions import Fraction

from evolvent.records import Reference, Score, Task, said
from evolvent.tasks.procedural import polynomials
from evolvent.tasks.procedural.draft import Draft

LEVELS = (1, 2, 3, 4)
JUDGE = Reference("evolvent.tasks.procedural.factoring:check")

NUM_FACTORS = {1: 2, 2: 2, 3: 3, 4: 3}
MAX_ROOT = {1: 5, 2: 9, 3: 5, 4: 9}
_FACTOR = re.compile(r"\*?\(([^()]*)\)(?:\^([0-9]))?")


def make(rng: random.Random, level: int) -> Draft:
    """Two or three factors x + c with whole c, drawn and multiplied out."""
    return draft(draw_roots(rng, NUM_FACTORS[level], MAX_ROOT[level]))


def draw_roots(rng: random.Random, num: int, top: int) -> list[int]:
    """The constants of `num` factors, none of them 0."""
    return [rng.choice((-1, 1)) * rng.randint(1, top) for _ in range(num)]


def draft(constants: Iterable[int]) -> Draft:
    """The problem whose answer is the product of all x + c."""
    answer = "".join(f"(x{c:+d})" for c in constants)
    question = polynomials.write(polynomials.parse(answer))
    return Draft(f"factor {question}", answer, data={"product": question}, solution=(said("assistant", answer),))


def check(task: Task, answer: str) -> Score:
    """1 where the answer is a product of at least two linear factors, and the polynomial."""
    assert task.private is not None
    try:
        found = multiply_out(answer)
    except ValueError as error:
        return Score(0.0, why=f"cannot be read: {error}")
    right = found == polynomials.parse(task.private.data["product"])
    return Score(float(right), why=f"multiplies out to {polynomials.write(found)}")


def multiply_out(text: str) -> polynomials.Polynomial:
    """The polynomial that 2(x-1)(x+3)^2 says; ValueError where it is not a product of two or more linear factors."""
    plain = re.sub(r"\s+", "", text).replace("**", "^")
    if len(plain) > polynomials.MAX_CHARS:
        raise ValueError(f"more than {polynomials.MAX_CHARS} characters")
    lead = re.match(r"(-?)([0-9]{0,9})", plain)
    assert lead is not None
    value = Fraction(int(lead[2] or 1)) * (-1 if lead[1] else 1)
    product: polynomials.Polynomial = {0: value} if value else {}
    at, num = lead.end(), 0
    while at < len(plain):
        match = _FACTOR.match(plain, at)
        factor = polynomials.parse(match[1]) if match else {}
        if match is None or max(factor, default=0) != 1:
            raise ValueError(f"{plain[at : at + 10]!r} is not a linear factor")
        for _ in range(int(match[2] or 1)):
            product, num = polynomials.multiply(product, factor), num + 1
        at = match.end()
    if num < 2:
        raise ValueError("not a product of two or more factors")
    return product
