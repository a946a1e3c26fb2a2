"""Reads elementary functions of x without eval, and compares a derivative with an integrand: numbers, then proof.

Read: numbers of at most 12 digits, x, pi, e, + - * / ^ **, 2x, parentheses, and the functions of FUNCTIONS. Everything
else is refused, and with it every way to fool a check that only differentiates: unevaluated integrals, derivatives
and sums, undefined functions, further symbols, Piecewise, Heaviside, DiracDelta, RootOf, erfi and its like.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from evolvent.errors import BadInput
from evolvent.seeds import uniforms

MAX_NODES = 60
MAX_CHARS = 400
MAX_DIGITS = 12
MAX_EXPONENT = 64
NUM_POINTS = 8
MIN_POINTS = 5
LOW, HIGH = 0.3, 2.5
TOLERANCE = 1e-8
CONSTANT = "the answer is a constant"
FUNCTIONS = {
    **{name: name for name in ("sin", "cos", "tan", "sec", "csc", "cot", "asin", "acos", "atan", "exp", "sqrt")},
    **{name: name for name in ("sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "log")},
    **{"ln": "log", "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arsinh": "asinh", "abs": "Abs"},
}
_TOKEN = re.compile(r"\s*(?:([0-9]+(?:\.[0-9]*)?|\.[0-9]+)|([a-zA-Z_]+)|(\*\*|[-+*/^()|]))")


def agree_in_numbers(integrand: str, given: str) -> dict[str, Any]:
    """Runs in a worker: whether F' and f agree to 1e-8 at 8 points in (0.3, 2.5), at least 5 of them regular.

    `fault` says what is wrong with the integrand, which is the task's, not the agent's.
    """
    found: dict[str, Any] = {"fault": "", "is_readable": False, "agrees": False, "why": ""}
    try:
        f = read(integrand)
        if f == 0:
            raise BadInput("the integrand is 0")  # noqa: TRY301 - said in the same words as the rest
    except BadInput as error:
        return found | {"fault": error.what}
    try:
        primitive = read(given)
    except BadInput as error:
        return found | {"why": f"cannot read the answer: {error.what}"}
    if not primitive.free_symbols:
        return found | {"is_readable": True, "why": CONSTANT}
    num, num_off = _compare(primitive.diff(_x()), f)
    if num < MIN_POINTS:
        why = f"undecided: only {num} of {NUM_POINTS} points are regular"
    else:
        why = f"the derivative differs from the integrand at {num_off} of {num} points" if num_off else ""
    return found | {"is_readable": True, "agrees": not why, "why": why}


def prove(integrand: str, given: str) -> dict[str, Any]:
    """Runs in a worker: whether sympy shows F' - f to be 0; what it cannot decide is not proven."""
    import sympy

    difference = read(given).diff(_x()) - read(integrand)
    steps = (sympy.expand, sympy.simplify, lambda e: sympy.simplify(e.rewrite(sympy.exp)), sympy.radsimp)
    for step in steps:
        if step(difference) == 0:
            return {"is_proven": True, "why": "the derivative is the integrand"}
    if difference.equals(0) is True:
        return {"is_proven": True, "why": "the derivative is the integrand"}
    return {"is_proven": False, "why": "undecided: numbers agree, and no proof was found"}


def tell_form(integrand: str, other: str) -> dict[str, str]:
    """Runs in a worker: keys that are the same for expressions which differ by order and a constant factor alone.

    `form` names the functions and operations that the integrand is made of.
    """
    import sympy

    expression = read(integrand)
    made_of = sorted({type(part).__name__ for part in sympy.preorder_traversal(expression) if part.args})
    return {"key": _key(expression), "other": _key(read(other)), "form": " ".join(made_of)}


def _key(expression: Any) -> str:
    import sympy

    primitive = sympy.expand(expression).as_content_primitive()[1]
    return str(-primitive if primitive.could_extract_minus_sign() else primitive)


def read(text: str) -> Any:
    """A sympy expression in x > 0 from plain notation; BadInput in words where it is none, or too large."""
    import sympy

    plain = re.sub(r"\+\s*[cC]\s*$", "", text.strip().strip("$").strip())
    plain = plain.split("=")[-1] if plain.count("=") == 1 else plain
    if len(plain) > MAX_CHARS:
        raise BadInput(f"more than {MAX_CHARS} characters")
    reading = _Reading(_split(plain))
    expression = reading.total()
    if reading.next:
        raise BadInput(f"{reading.next!r} is not expected")
    if sum(1 for _ in sympy.preorder_traversal(expression)) > MAX_NODES:
        raise BadInput(f"more than {MAX_NODES} parts")
    if expression.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
        raise BadInput("it is not defined")
    return expression


def _x() -> Any:
    import sympy

    return sympy.Symbol("x", positive=True)


def _compare(derivative: Any, f: Any) -> tuple[int, int]:
    """At how many regular points the two were compared, and at how many they differ."""
    import sympy

    x, num, num_off = _x(), 0, 0
    both = sympy.lambdify(x, (derivative, f), "mpmath")
    for u in uniforms(0, "antiderivative", num=8 * NUM_POINTS):
        try:
            left, right = (complex(value) for value in both(LOW + (HIGH - LOW) * float(u)))
        except (ValueError, ZeroDivisionError, OverflowError, TypeError):
            continue
        size = max(abs(left), abs(right))
        if not size < 1e12 or max(abs(left.imag), abs(right.imag)) > 1e-12 * max(size, 1.0):
            continue  # singular here, or outside the real domain
        num, num_off = num + 1, num_off + (abs(left - right) > TOLERANCE * max(size, 1e-3))
        if num == NUM_POINTS:
            break
    return num, num_off


def _split(text: str) -> list[str]:
    tokens, at = [], 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None:
            raise BadInput(f"{text[at:].strip()[:10]!r} is not expected")
        word = match[2]
        if word and word.lower() not in FUNCTIONS and word not in ("x", "pi", "e", "E"):
            raise BadInput(f"{word!r} is not x, pi, e or an elementary function")
        if match[1] and len(match[1]) > MAX_DIGITS:
            raise BadInput(f"a number of more than {MAX_DIGITS} digits")
        tokens.append(match[1] or word or match[3])
        at = match.end()
    return tokens


@dataclass
class _Reading:
    """Recursive descent over tokens, building sympy as it goes; '' stands for the end."""

    tokens: list[str]
    at: int = 0
    depth: int = 0

    def total(self) -> Any:
        self.depth += 1
        if self.depth > MAX_NODES:
            raise BadInput("too many parentheses")
        value = self.product()
        while self.next in ("+", "-"):
            value = value + self.product() if self.take() == "+" else value - self.product()
        self.depth -= 1
        return value

    def product(self) -> Any:
        value = self.signed()
        while self.next and self.next not in ("+", "-", ")", "|"):
            if self.next == "/":
                self.take()
                value = value / self.signed()
            else:
                if self.next == "*":
                    self.take()
                value = value * self.signed()
        return value

    def signed(self) -> Any:
        sign = 1
        while self.next in ("+", "-"):
            sign = sign if self.take() == "+" else -sign
        return sign * self.power()

    def power(self) -> Any:
        base = self.atom()
        if self.next not in ("^", "**"):
            return base
        self.take()
        return _power(base, self.signed())

    def atom(self) -> Any:
        import sympy

        token = self.take()
        if token in ("(", "|"):
            value = self.total()
            if self.take() != (")" if token == "(" else "|"):
                raise BadInput("a parenthesis is not closed")
            return value if token == "(" else sympy.Abs(value)
        if token == "x":
            return _x()
        if token in ("pi", "e", "E"):
            return sympy.pi if token == "pi" else sympy.E
        if token.lower() in FUNCTIONS:
            return self.applied(FUNCTIONS[token.lower()])
        if not token or token[0] not in "0123456789.":
            raise BadInput(f"{token!r} is not expected" if token else "it ends too early")
        return sympy.Rational(token.rstrip(".") if token[-1] == "." else token)

    def applied(self, name: str) -> Any:
        """A function of what stands in parentheses, or of the next power: log(x), sin x, sin^2 x."""
        import sympy

        exponent = None
        if self.next in ("^", "**"):
            self.take()
            exponent = self.atom()
        value = getattr(sympy, name)(self.atom() if self.next == "(" else self.power())
        return value if exponent is None else _power(value, exponent)

    @property
    def next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token, self.at = self.next, self.at + 1
        return token


def _power(base: Any, exponent: Any) -> Any:
    if exponent.is_number and not abs(float(exponent.evalf(6))) <= MAX_EXPONENT:
        raise BadInput(f"an exponent beyond {MAX_EXPONENT}")
    if base.is_Rational and max(abs(base.p), base.q).bit_length() * MAX_EXPONENT > 4096:
        raise BadInput("a power of a huge number")
    return base**exponent
