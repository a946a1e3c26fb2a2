"""Checks of mathematics: equivalent expressions, and antiderivatives, in workers that can be killed."""

from __future__ import annotations

import re
from typing import Any

from evolvent.errors import VerifierError
from evolvent.records import Score, Task
from evolvent.rewards.numbers import last_boxed
from evolvent.rewards.verify import private, right_if
from evolvent.rewards.workers import DeadlineError, shared

MAX_CHARS = 300  # of one expression in plain notation
MAX_ANSWER_CHARS = 4000  # the end of an answer in running words
_FUNCTIONS = "arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|sec|csc|cot|log|ln|exp|sqrt|pi"


def equivalent(task: Task, answer: str, timeout_s: float = 10.0, num_workers: int = 1) -> Score:
    r"""1 where the answer is mathematically the wanted one: math-verify on `\boxed{}`, `$...$` or a plain expression.

    An expression that cannot be decided in time is a VerifierError, never a score of 0.
    """
    wanted = private(task).answer
    found = shared(num_workers).run(
        "evolvent.rewards.symbolic:decide_equivalent", timeout_s, wanted=as_latex(wanted), given=as_latex(answer)
    )
    if not found["wanted"]:
        raise VerifierError("the wanted answer of a task is not mathematics", where=task.task_id)
    if not found["given"]:
        return right_if("equivalent", False, f"no mathematics in {answer[-60:]!r}")
    is_right = bool(found["is_right"])
    read = found["given"][:80]
    return right_if("equivalent", is_right, f"read {read}: {'equivalent' if is_right else 'not equivalent'}")


def antiderivative(task: Task, answer: str, timeout_s: float = 5.0, num_workers: int = 1) -> Score:
    """1 where the derivative of the answer is proven to be `private.data["integrand"]`, for x > 0, constant free.

    Two stages: numbers at 8 points, then a proof by sympy. What is not proven is rejected, and `why` says so; a
    numeric stage that breaks or hangs is a VerifierError. Only elementary closed forms in x count (see `calculus`).
    """
    integrand = private(task).data.get("integrand")
    if not isinstance(integrand, str):
        raise VerifierError("the task names no integrand", where=task.task_id, wanted='private.data["integrand"]')
    given = last_boxed(answer) or answer
    arguments = {"integrand": integrand, "given": given}
    pool = shared(num_workers)
    numbers: dict[str, Any] = pool.run("evolvent.rewards.calculus:agree_in_numbers", timeout_s, **arguments)
    if numbers["fault"]:
        raise VerifierError("the integrand of a task cannot be used", where=task.task_id, got=numbers["fault"])
    if not numbers["agrees"]:
        return _stages(numbers["is_readable"], False, False, numbers["why"])
    try:
        proof: dict[str, Any] = pool.run("evolvent.rewards.calculus:prove", timeout_s, **arguments)
    except DeadlineError:
        return _stages(True, True, False, f"undecided: numbers agree, and no proof was found in {timeout_s:g} s")
    return _stages(True, True, proof["is_proven"], proof["why"])


def _stages(is_readable: bool, agrees: bool, is_proven: bool, why: str) -> Score:
    parts = {"readable": float(is_readable), "numeric": float(agrees), "symbolic": float(is_proven)}
    return Score(float(is_proven), parts, why)


def as_latex(text: str) -> str:
    """The mathematics of an answer in the marks that math-verify looks for; running text is left as it is."""
    text = text.strip()
    box = last_boxed(text)
    if box is not None:
        return f"${box}$"
    if any(mark in text for mark in ("$", r"\(", r"\[")) or len(text) > MAX_CHARS or "\n" in text:
        return text[-MAX_ANSWER_CHARS:]
    if "\\" in text or not _is_expression(text):
        return f"${text}$" if "\\" in text else text
    text = text.replace("**", "^")
    text = re.sub(r"\^\(([^()]*)\)", r"^{\1}", text)
    text = re.sub(r"\^(-?[0-9]+)", r"^{\1}", text)
    text = re.sub(r"sqrt\(([^()]*)\)", r"\\sqrt{\1}", text)
    text = re.sub(rf"(?<![a-zA-Z\\])({_FUNCTIONS})(?![a-zA-Z])", r"\\\1", text)
    return f"${text}$"


def _is_expression(text: str) -> bool:
    words = re.findall(r"[a-zA-Z]{2,}", text)
    return all(re.fullmatch(_FUNCTIONS, word) for word in words)


def decide_equivalent(wanted: str, given: str) -> dict[str, Any]:
    """Runs in a worker: what was read on both sides ("" where nothing), and whether they are equivalent."""
    from math_verify import parse, verify

    # no timeouts of its own: they need signals, and the parent kills a worker that is late
    gold = parse(wanted, parsing_timeout=None)
    target = parse(given, parsing_timeout=None)
    is_right = bool(gold and target) and verify(gold, target, timeout_seconds=None, raise_on_error=True)
    return {
        "wanted": str(gold[-1]) if gold else "",
        "given": str(target[-1]) if target else "",
        "is_right": bool(is_right),
    }
