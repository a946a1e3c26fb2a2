"""Reach a target from given numbers, each used at most once."""

from __future__ import annotations

import ast
import operator
import random
import re
from collections import Counter
from collections.abc import Callable
from fractions import Fraction

from evolvent.records import Reference, Score, Task, said
from evolvent.tasks.procedural.draft import Draft

LEVELS = (1, 2, 3, 4, 5)
JUDGE = Reference("evolvent.tasks.procedural.countdown:check")

MAX_CHARS = 200
OPERATIONS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def make(rng: random.Random, level: int) -> Draft:
    """`level + 1` numbers and a target that one expression over all of them reaches."""
    top = 10 if level <= 2 else 25
    while True:
        numbers = [rng.randint(1, top) for _ in range(level + 1)]
        expression, target = combine(numbers, rng)
        # a target that is among the numbers would be answered by copying
        if target not in numbers and 1 <= target <= 999:
            break
    numbers.sort()
    return Draft(
        f"make {target} from {' '.join(map(str, numbers))} by + - * /",
        expression,
        data={"numbers": numbers, "target": target},
        solution=(said("assistant", expression),),
    )


def combine(numbers: list[int], rng: random.Random) -> tuple[str, int]:
    """A random expression over all numbers that stays a positive whole number throughout, and its value."""
    parts = [(str(number), number) for number in numbers]
    while len(parts) > 1:
        pair = [parts.pop(rng.randrange(len(parts))) for _ in range(2)]
        (right_text, b), (left_text, a) = sorted(pair, key=lambda part: part[1])
        choices = [("+", a + b), ("*", a * b)]
        choices += [("-", a - b)] if a > b else []
        choices += [("/", a // b)] if a % b == 0 else []
        sign, value = rng.choice(choices)
        parts.append((f"({left_text}{sign}{right_text})", value))
    expression, value = parts[0]
    return expression[1:-1] if expression.startswith("(") else expression, value


def check(task: Task, answer: str) -> Score:
    """1 where the expression has the target's value and uses each given number at most once."""
    assert task.private is not None
    target, given = task.private.data["target"], Counter(task.private.data["numbers"])
    left, _, claimed = answer.replace(" ", "").partition("=")
    if claimed not in ("", str(target)):
        return Score(0.0, why=f"claims {claimed[:20]}, not {target}")
    try:
        value, used = evaluate(left)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError) as error:
        return Score(0.0, why=f"cannot be read: {error}")
    if used - given:
        return Score(0.0, why=f"uses {dict(used - given)} more often than given")
    if value != target:
        return Score(0.0, why=f"has the value {value}, not {target}")
    return Score(1.0, why=f"{left} = {target}")


def evaluate(text: str) -> tuple[Fraction, Counter[int]]:
    """The exact value of an expression of whole numbers, and how often each number stands in it."""
    if len(text) > MAX_CHARS or not re.fullmatch(r"[0-9+\-*/()]+", text):
        raise ValueError(f"not an expression of at most {MAX_CHARS} characters with + - * / ( )")
    used: Counter[int] = Counter()

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            used[node.value] += 1
            return Fraction(node.value)
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
            return OPERATIONS[type(node.op)](value(node.left), value(node.right))
        raise ValueError("only numbers joined by + - * /")

    return value(ast.parse(text, mode="eval").body), used
