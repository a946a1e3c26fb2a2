"""Polynomials in x with exact rational coefficients: read from text, differentiated, written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

Polynomial = Mapping[int, Fraction]
"""Coefficient by exponent; zero coefficients are absent, so equal polynomials are equal mappings."""

MAX_CHARS = 300
MAX_DEGREE = 64
MAX_DIGITS = 100
MAX_DEPTH = 20


def parse(text: str) -> Polynomial:
    """The polynomial that a text such as 3x^2-x/2+(1/3)*x**4 says; ValueError where it says none.

    Products and quotients are read from left to right, so 5/2x^2 is (5/2)x^2: the only reading that is a polynomial.
    """
    if len(text) > MAX_CHARS:
        raise ValueError(f"more than {MAX_CHARS} characters")
    plain = re.sub(r"\s+", "", text).replace("**", "^")
    tokens = re.findall(r"[0-9]+|[x+\-*/^()]", plain)
    if "".join(tokens) != plain or not tokens:
        raise ValueError("not a polynomial in x")
    found, rest = read_sum(tokens, 0)
    if rest != len(tokens):
        raise ValueError(f"unexpected {tokens[rest]!r}")
    return found


def derivative(polynomial: Polynomial) -> Polynomial:
    """d/dx, term by term."""
    return {power - 1: power * value for power, value in polynomial.items() if power}


def antiderivative(polynomial: Polynomial) -> Polynomial:
    """The antiderivative whose constant is 0."""
    return {power + 1: value / (power + 1) for power, value in polynomial.items()}


def write(polynomial: Polynomial) -> str:
    """The shortest usual form, highest power first: 3x^2-x/2 is written 3x^2-1/2x."""
    parts = []
    for power in sorted(polynomial, reverse=True):
        value = polynomial[power]
        letter = "" if power == 0 else "x" if power == 1 else f"x^{power}"
        size = "" if abs(value) == 1 and letter else str(abs(value))
        parts.append(("-" if value < 0 else "+") + size + letter)
    return "".join(parts).removeprefix("+") or "0"


def read_sum(tokens: list[str], at: int, depth: int = 0) -> tuple[Polynomial, int]:
    """Terms joined by + and -, from token `at` on, and the place after them."""
    if depth > MAX_DEPTH:
        raise ValueError("nested too deep")
    total: Polynomial = {}
    sign = "+"
    if tokens[at : at + 1] in (["+"], ["-"]):
        sign, at = tokens[at], at + 1
    while True:
        term, at = read_product(tokens, at, depth)
        total = add(total, scale(term, Fraction(1 if sign == "+" else -1)))
        if tokens[at : at + 1] not in (["+"], ["-"]):
            return total, at
        sign, at = tokens[at], at + 1


def read_product(tokens: list[str], at: int, depth: int) -> tuple[Polynomial, int]:
    """Factors side by side or joined by * and /."""
    product, at = read_factor(tokens, at, depth)
    while at < len(tokens) and tokens[at] not in "+-)":
        sign = tokens[at] if tokens[at] in "*/" else "*"
        factor, at = read_factor(tokens, at + 1 if tokens[at] in "*/" else at, depth)
        if sign == "/":
            if set(factor) != {0}:
                raise ValueError("division by something that is not a number other than 0")
            factor = {0: 1 / factor[0]}
        product = multiply(product, factor)
    return product, at


def read_factor(tokens: list[str], at: int, depth: int) -> tuple[Polynomial, int]:
    """A number, x or a bracket, with its exponent."""
    if at >= len(tokens):
        raise ValueError("ends too early")
    token, at = tokens[at], at + 1
    if token == "(":
        atom, at = read_sum(tokens, at, depth + 1)
        if tokens[at : at + 1] != [")"]:
            raise ValueError("a bracket stays open")
        at += 1
    elif token == "x":
        atom = {1: Fraction(1)}
    elif token.isdigit():
        atom = {0: Fraction(int(token))} if int(token) else {}
    else:
        raise ValueError(f"unexpected {token!r}")
    if tokens[at : at + 1] != ["^"]:
        return atom, at
    exponent = "".join(tokens[at + 1 : at + 2])
    if not exponent.isdigit() or len(exponent) > 2 or int(exponent) > MAX_DEGREE:
        raise ValueError(f"an exponent is a whole number of at most {MAX_DEGREE}")
    power: Polynomial = {0: Fraction(1)}
    for _ in range(int(exponent)):
        power = multiply(power, atom)
    return power, at + 2


def add(left: Polynomial, right: Polynomial) -> Polynomial:
    """The sum."""
    total = {power: left.get(power, Fraction(0)) + right.get(power, Fraction(0)) for power in {*left, *right}}
    return {power: value for power, value in total.items() if value}


def scale(polynomial: Polynomial, factor: Fraction) -> Polynomial:
    """The polynomial times a number other than 0."""
    return {power: value * factor for power, value in polynomial.items()}


def multiply(left: Polynomial, right: Polynomial) -> Polynomial:
    """The product, bounded so that no answer can keep the judge busy."""
    product: dict[int, Fraction] = {}
    for i, a in left.items():
        for j, b in right.items():
            product[i + j] = product.get(i + j, Fraction(0)) + a * b
    limit = 10**MAX_DIGITS
    if max(product, default=0) > MAX_DEGREE:
        raise ValueError(f"a degree above {MAX_DEGREE}")
    if any(abs(value.numerator) > limit or value.denominator > limit for value in product.values()):
        raise ValueError(f"a number of more than {MAX_DIGITS} digits")
    return {power: value for power, value in product.items() if value}
