"""Decides whether an answer may be shown to a judge that evaluates it as Python or as a SymPy expression.

Some judges written elsewhere call `eval` or `sympy.parse_expr` on what a policy said. Only plain literals (lists of
numbers and texts) and plain formulas pass: nothing that calls, looks up attributes, or grows without bound.
"""

from __future__ import annotations

import re

MAX_CHARS = 20_000
FUNCTIONS = frozenset({"sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "exp", "log", "sqrt", "ln"})
FORBIDDEN = re.compile(r"__|\.\s*[^\W\d]|<<|[\\!`;@]|\b(lambda|for|while|if|import|yield|await|async)\b|:=")
CALLED = re.compile(r"([^\W\d]\w*)\s*\(")
APPLIED = re.compile(r"[\])}'\"]\s*\(")
POWER = re.compile(r"\*\*")
SMALL_POWER = re.compile(
    r"\*\*\s*(-?[0-9]{1,2}|\(\s*-?[0-9]{1,2}\s*(/\s*[0-9]{1,2}\s*)?\)|[a-zA-Z])(?![\w.(])(?!\s*\*\*)"
)
MAX_POWERS_OF_BRACKETS = 3


def is_harmless(answer: str) -> bool:
    """Whether evaluating the answer can do nothing but compute a small value."""
    if len(answer) > MAX_CHARS or FORBIDDEN.search(answer) or not set(CALLED.findall(answer)) <= FUNCTIONS:
        return False
    if re.search(r"['\"\[\]{}]", answer):
        # a literal: repeated texts and lists, and padded formats, can fill the memory
        is_format = "{" in answer and re.search(r"['\"]", answer)
        return not is_format and not re.search(r"[*%]", answer) and not APPLIED.search(answer)
    is_applied = re.search(r"\)\s*\(", answer)
    powers = POWER.findall(answer)
    nested = re.findall(r"\)\s*\*\*", answer)
    return not is_applied and len(nested) <= MAX_POWERS_OF_BRACKETS and len(SMALL_POWER.findall(answer)) == len(powers)
