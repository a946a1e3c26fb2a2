"""Programs of one number: run by an interpreter, and guessed at from their input, their output, or both."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence

from evolvent.envs.interpreter import Interpreter, execute
from evolvent.records import Score, Task

DEDUCTION, ABDUCTION, INDUCTION = MODES = ("deduction", "abduction", "induction")
NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,8})")
PROGRAM = re.compile(r"(?=.*x)[-+*%/()x0-9]{1,24}")
BANNED = re.compile(r"\*\*|//-?0|0[0-9]")  # what runs away, and what only looks like a number
LIMITS = Interpreter(timeout_s=1.0)
LARGEST = 10**9


def is_program(text: str) -> bool:
    """Whether this has the form of an expression over x, right or wrong."""
    return PROGRAM.fullmatch(text) is not None and BANNED.search(text) is None


def is_number(text: str) -> bool:
    """Whether this is a whole number in its usual form."""
    return NUMBER.fullmatch(text) is not None


@functools.lru_cache(maxsize=1 << 14)
def outputs(program: str, inputs: tuple[int, ...]) -> tuple[int, ...] | None:
    """What a program makes of each input; None where it fails, is no whole number, or differs from run to run."""
    if not is_program(program):
        return None
    code = f"def f(x):\n    return {program}\n[f(x) for x in {list(inputs)}]"
    once, again = execute(code, LIMITS), execute(code, LIMITS)
    if once.error or once != again:
        return None
    try:
        found = json.loads(once.value)
    except ValueError:
        return None
    fits = all(isinstance(value, int) and abs(value) <= LARGEST for value in found)
    return tuple(found) if fits else None


def well_formed(task: Task, answer: str) -> bool:
    """Whether an answer has the form that the task's mode asks for."""
    return is_program(answer) if task.family == INDUCTION else is_number(answer)


def check(task: Task, answer: str) -> Score:
    """1 for the output (deduction), any input that gives it (abduction), any program that fits all pairs (induction).

    The task's private data holds `program`, `inputs` and `outputs`, more of them than an inducer was shown.
    """
    assert task.private is not None
    data = task.private.data
    inputs, wanted = tuple(data["inputs"]), tuple(data["outputs"])
    if not well_formed(task, answer):
        return Score(0.0, why="not of the form that was asked for")
    if task.family == DEDUCTION:
        return _right(int(answer) == wanted[0])
    if task.family == ABDUCTION:
        return _right(outputs(data["program"], (int(answer),)) == wanted)
    return _right(outputs(answer, inputs) == wanted)


def _right(is_right: bool) -> Score:
    return Score(float(is_right), why="the interpreter agrees" if is_right else "the interpreter says otherwise")


def shown(pairs: Sequence[tuple[int, int]]) -> str:
    """Pairs of input and output, such as 2>5 3>7."""
    return " ".join(f"{i}>{o}" for i, o in pairs)
