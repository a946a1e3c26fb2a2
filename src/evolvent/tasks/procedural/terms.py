"""Sums of c*x^n, c*sin(kx), c*cos(kx), c*exp(kx) with exact coefficients: read from text, differentiated, written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

Base = tuple[str, int]
"""("x", 3) is x^3, ("x", 0) is 1, ("sin", 2) is sin(2x)."""
Terms = Mapping[Base, Fraction]
"""Coefficient by base, in the order of the text; zeros are absent. The bases are linearly independent, so two sums are
the same function where they are equal mappings."""

MAX_CHARS = 200
MAX_DIGITS = 9
_TERM = re.compile(
    r"(?P<sign>[+-]?)"
    r"(?:(?P<above>[0-9]+)(?:/(?P<below>[0-9]+))?)?"
    r"\*?(?:(?P<x>x)(?:\^(?P<power>[0-9]{1,2}))?|(?P<name>sin|cos|exp)\((?P<rate>[0-9]{0,2})\*?x\))?"
    r"(?:/(?P<by>[0-9]+))?"
)


def parse(text: str) -> Terms:
    """The sum that a text such as 3x^2-sin(2x)/2+1/3exp(x) says; ValueError where it says none."""
    plain = re.sub(r"\s+", "", text).replace("**", "^")
    if not plain or len(plain) > MAX_CHARS:
        raise ValueError(f"nothing, or more than {MAX_CHARS} characters")
    found: dict[Base, Fraction] = {}
    at = 0
    while at < len(plain):
        match = _TERM.match(plain, at)
        if match is None or (at and not match["sign"]) or not (match["above"] or match["x"] or match["name"]):
            raise ValueError(f"{plain[at : at + 10]!r} is not expected")
        base, value = _read(match)
        found[base] = found.get(base, Fraction(0)) + value
        at = match.end()
    return {base: value for base, value in found.items() if value}


def derivative(terms: Terms) -> Terms:
    """d/dx, term by term."""
    return {base: value for base, value in map(_slope, terms.items()) if value}


def _slope(term: tuple[Base, Fraction]) -> tuple[Base, Fraction]:
    (name, number), value = term
    if name == "x":
        return ("x", max(number - 1, 0)), value * number
    if name == "exp":
        return (name, number), value * number
    return ("cos" if name == "sin" else "sin", number), value * number * (1 if name == "sin" else -1)


def write(terms: Terms) -> str:
    """The usual form, in the order of the mapping: 3x^2-1/2sin(2x)."""
    parts = []
    for (name, number), value in terms.items():
        if name == "x":
            shape = "" if number == 0 else "x" if number == 1 else f"x^{number}"
        else:
            shape = f"{name}({'' if number == 1 else number}x)"
        size = "" if abs(value) == 1 and shape else str(abs(value))
        parts.append(("-" if value < 0 else "+") + size + shape)
    return "".join(parts).removeprefix("+") or "0"


def key(terms: Terms) -> str:
    """The same for sums that differ by order and a constant factor alone."""
    ordered = sorted(terms.items())
    return write({base: value / ordered[0][1] for base, value in ordered}) if ordered else "0"


def _read(match: re.Match[str]) -> tuple[Base, Fraction]:
    sizes = [match[name] for name in ("above", "below", "by")]
    if any(size and len(size) > MAX_DIGITS for size in sizes):
        raise ValueError(f"a number of more than {MAX_DIGITS} digits")
    above, below, by = (int(size) if size else 1 for size in sizes)
    if not below * by:
        raise ValueError("a division by 0")
    value = Fraction(-above if match["sign"] == "-" else above, below * by)
    if match["name"]:
        rate = int(match["rate"] or 1)
        if not rate:
            raise ValueError("a rate of 0")
        return (match["name"], rate), value
    power = int(match["power"] or 1) if match["x"] else 0
    return ("x", power), value
