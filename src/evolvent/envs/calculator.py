"""A calculator: exact arithmetic on text, bounded so that no expression can hang it."""

from __future__ import annotations

import decimal
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from evolvent.errors import ToolError

MAX_CHARS = 256
MAX_DEPTH = 40
MAX_BITS = 1024  # about 308 digits, the range of a double
MAX_PLACES = 12

_TOKEN = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)|(\*\*|//|[-+*/%()])")
_HINTS = {"^": "write ** for a power", "×": "write *", "÷": "write /", "−": "write -", ",": "write 1234, not 1,234"}


def calc(expression: str) -> str:
    """Compute an expression of numbers, + - * / // % ** and parentheses.

    expression: for example (12+30)*4
    """
    if len(expression) > MAX_CHARS:
        raise ToolError(f"the expression has {len(expression)} characters, {MAX_CHARS} is the limit")
    return _shown(_Reading(expression, _split(expression)).whole())


@dataclass
class _Reading:
    """Recursive descent over tokens; `at` is the next one to read, '' stands for the end."""

    expression: str
    tokens: list[str]
    at: int = 0
    depth: int = 0

    def whole(self) -> Fraction:
        value = self.total()
        if self.next:
            raise self.unreadable(f"{self.next!r} is not expected")
        return value

    def total(self) -> Fraction:
        value = self.product()
        while self.next in ("+", "-"):
            sign = 1 if self.take() == "+" else -1
            value = _bounded(value + sign * self.product())
        return value

    def product(self) -> Fraction:
        value = self.signed()
        while self.next in ("*", "/", "//", "%"):
            value = _bounded(_combine(value, self.take(), self.signed()))
        return value

    def signed(self) -> Fraction:
        sign = 1
        while self.next in ("+", "-"):
            sign = sign if self.take() == "+" else -sign
        return sign * self.power()

    def power(self) -> Fraction:
        base = self.atom()
        if self.next != "**":
            return base
        self.take()
        return _power(base, self.deeper(self.signed))

    def atom(self) -> Fraction:
        token = self.take()
        if token == "(":
            value = self.deeper(self.total)
            if self.take() != ")":
                raise self.unreadable("a ')' is missing")
            return value
        if not token or token[0] not in "0123456789.":
            raise self.unreadable(f"a number is missing {f'before {token!r}' if token else 'at the end'}")
        return _bounded(Fraction(token if token[-1] != "." else token[:-1]))

    def deeper(self, part: Callable[[], Fraction]) -> Fraction:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ToolError(f"more than {MAX_DEPTH} parentheses or powers inside each other")
        value = part()
        self.depth -= 1
        return value

    @property
    def next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token, self.at = self.next, self.at + 1
        return token

    def unreadable(self, why: str) -> ToolError:
        return ToolError(f"cannot read {self.expression!r}: {why}")


def _split(expression: str) -> list[str]:
    tokens, at = [], 0
    while at < len(expression):
        if expression[at].isspace():
            at += 1
            continue
        match = _TOKEN.match(expression, at)
        if match is None:
            odd = expression[at]
            raise ToolError(f"cannot read {expression!r}: {odd!r} is not expected", cure=_HINTS.get(odd, ""))
        tokens.append(match.group())
        at = match.end()
    if not tokens:
        raise ToolError("the expression is empty", cure="write for example 12*3")
    return tokens


def _combine(left: Fraction, operator: str, right: Fraction) -> Fraction:
    if operator == "*":
        return left * right
    if right == 0:
        raise ToolError("division by zero")
    if operator == "/":
        return left / right
    return Fraction(left // right) if operator == "//" else left % right


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        raise ToolError(f"the exponent {_shown(exponent)} is not a whole number")
    if base == 0 and exponent < 0:
        raise ToolError("division by zero")
    num_bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(base) != 1 and base != 0 and (num_bits - 1) * abs(exponent) > MAX_BITS:
        raise _too_large()
    if abs(base) == 1:
        return base if exponent % 2 else Fraction(1)
    return _bounded(base ** int(exponent))


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise _too_large()
    return value


def _too_large() -> ToolError:
    return ToolError("the number is too large", wanted="at most 308 digits")


def _shown(value: Fraction) -> str:
    """Exact where a whole number or a short decimal is; else rounded to 12 significant digits or more."""
    if value.denominator == 1:
        return str(value.numerator)
    num_digits = len(str(abs(value.numerator) // value.denominator))
    with decimal.localcontext() as context:
        context.prec = num_digits + MAX_PLACES
        exact = decimal.Decimal(value.numerator) / decimal.Decimal(value.denominator)
        return f"{exact.normalize():f}" if abs(value) >= Fraction(1, 10**6) else f"{exact.normalize():g}"
