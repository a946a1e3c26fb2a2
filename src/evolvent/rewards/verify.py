"""Checks of one answer: exact words, a number, a format, and what a program prints."""

from __future__ import annotations

import re
from fractions import Fraction

from evolvent.envs.interpreter import Interpreter, execute
from evolvent.errors import VerifierError
from evolvent.records import Private, Score, Task
from evolvent.rewards.numbers import read_number


def exact(task: Task, answer: str) -> Score:
    """1 where the answer is the wanted text, space around and between words aside; case counts."""
    wanted, got = private(task).answer.split(), answer.split()
    if not got:
        return right_if("exact", False, "no answer was given")
    return right_if("exact", got == wanted, f"{' '.join(got)[:80]!r} is {'' if got == wanted else 'not '}the answer")


def numeric(task: Task, answer: str, tolerance: float = 0.0, relative: float = 0.0) -> Score:
    """1 where the number given is within max(tolerance, relative * |wanted|) of the wanted one; see `read_number`.

    Exact on fractions: 1/3 is not 0.3333 unless a tolerance says so, and 50% is 0.5, not 50.
    """
    wanted = read_number(private(task).answer)
    if wanted.value is None:
        raise VerifierError("the wanted answer of a task is not a number", where=task.task_id, wanted="one number")
    given = read_number(answer)
    if given.value is None:
        return right_if("numeric", False, given.why)
    room = max(Fraction(str(tolerance)), Fraction(str(relative)) * abs(wanted.value))
    is_right = abs(given.value - wanted.value) <= room
    return right_if("numeric", is_right, f"{given.why}: {'right' if is_right else 'wrong'}")


def format_matches(task: Task, answer: str, pattern: str) -> Score:
    """1 where the whole answer, space around it aside, matches the regular expression; says nothing of its truth."""
    fits = re.fullmatch(pattern, answer.strip(), flags=re.DOTALL) is not None
    return right_if("format", fits, f"the answer {'fits' if fits else 'does not fit'} {pattern!r}")


def private(task: Task) -> Private:
    """What a task keeps for its judge; a task without it cannot be judged."""
    if task.private is None:
        raise VerifierError(
            "the task came without its private part",
            where=task.task_id,
            got="private is None",
            wanted="the answer that judges it",
            cure="judge with the tasks of the source, not with the copies that policies see",
        )
    return task.private


def right_if(component: str, is_right: bool, why: str) -> Score:
    """A score of 1 or 0 under one name."""
    return Score(float(is_right), {component: float(is_right)}, why)


def program_output(task: Task, answer: str, timeout_s: float = 5.0) -> Score:
    """The share of the private tests {"inputs": [text], "outputs": [text]} that a program passes.

    The program is the last fenced block of the answer, else all of it; it reads with `input()` and prints. Space at
    the ends of lines and of the output does not count.
    """
    data = private(task).data
    inputs, outputs = list(data.get("inputs", ())), list(data.get("outputs", ()))
    if not outputs or len(inputs) != len(outputs):
        raise VerifierError(
            "the tests of a task cannot be run",
            where=task.task_id,
            got=f"{len(inputs)} inputs and {len(outputs)} outputs",
            wanted="as many inputs as outputs, and at least one",
        )
    limits, code = Interpreter(timeout_s=timeout_s, max_output_bytes=2**20), program_in(answer)
    passed: dict[str, float] = {}
    wrong: list[str] = []
    for number, (given, wanted) in enumerate(zip(inputs, outputs, strict=True), start=1):
        ran = execute(code, limits, given.splitlines())
        is_right = not ran.error and _lines(ran.printed) == _lines(wanted)
        passed[f"test {number}"] = float(is_right)
        if not is_right:
            wrong.append(f"test {number}: {ran.error or f'printed {ran.printed.strip()[:60]!r}, which is wrong'}")
    share = sum(passed.values()) / len(passed)
    why = f"{sum(passed.values()):.0f} of {len(passed)} tests passed" + (f"; {wrong[0]}" if wrong else "")
    return Score(share, passed, why)


def program_in(answer: str) -> str:
    """The program of an answer: its last fenced block, else the whole."""
    blocks = re.findall(r"```[^\n`]*\n(.*?)```", answer, flags=re.DOTALL)
    return blocks[-1] if blocks else answer


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]
