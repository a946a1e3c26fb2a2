"""Turns tasks as they were made into tasks worth training on, and says of every other one why it was dropped."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from evolvent.errors import BadInput
from evolvent.records import Image, Task

__all__ = ["Screened", "answer_leaks", "malformed", "screen"]

MIN_QUOTED_CHARS = 12
ANNOUNCED = re.compile(r"(?:\b(?:answer|solution)s?\s*(?:\b(?:is|are|was)\b|[:=])|####|\\boxed\{)\W{0,3}$")
ALTERNATIVE = re.compile(r"\s*(?:or\b|[,/|])")


@dataclass(frozen=True)
class Screened:
    """The tasks that passed, in order, and the ids of the others by reason."""

    kept: tuple[Task, ...]
    dropped: Mapping[str, tuple[str, ...]]

    @property
    def num_dropped(self) -> int:
        """How many tasks were dropped, for whatever reason."""
        return sum(len(ids) for ids in self.dropped.values())


def screen(
    tasks: Iterable[Task],
    *,
    known: Iterable[Task] = (),
    solved: Mapping[str, float] | None = None,
    low: float = 0.0,
    high: float = 1.0,
    leaks: Callable[[Task], bool] | None = None,
) -> Screened:
    """Keep the tasks that are well formed, new (also to `known`), do not tell their answer, and pass low < rate < high.

    `solved` is the measured pass rate by task id (None: not measured, nothing is dropped for it). A task is dropped
    for the first reason that holds. `leaks` replaces the rule of `answer_leaks`.
    """
    if not 0.0 <= low < high <= 1.0:
        raise BadInput("pass rates to keep lie between 0 and 1", got=f"low={low}, high={high}", wanted="0<=low<high<=1")
    seen: dict[tuple[str, ...], str] = {}
    for task in known:
        remember(task, seen, "known already")
    kept: list[Task] = []
    dropped: dict[str, list[str]] = {}
    for task in tasks:
        reason = malformed(task) or remember(task, seen, "duplicate")
        reason = reason or ("answer in the prompt" if (leaks or answer_leaks)(task) else "")
        reason = reason or out_of_band(task, solved, low, high)
        if reason:
            dropped.setdefault(reason, []).append(task.task_id)
        else:
            kept.append(task)
    return Screened(tuple(kept), {reason: tuple(ids) for reason, ids in dropped.items()})


def malformed(task: Task) -> str:
    """What is wrong with the form of a task, or nothing."""
    shows_image = any(isinstance(block, Image) for message in task.prompt for block in message.blocks)
    if not task.prompt or (not task.prompt[-1].text.strip() and not shows_image):
        return "empty prompt"
    if task.private is None or not task.private.answer.strip():
        return "empty answer"
    if any(has_control_characters(text) for text in (*(m.text for m in task.prompt), task.private.answer)):
        return "control characters"
    return ""


def has_control_characters(text: str) -> bool:
    """Whether a text holds what no keyboard types: controls, half characters, or the mark of a failed decoding."""
    return any(
        mark == "\ufffd" or (unicodedata.category(mark) in ("Cc", "Cs") and mark not in "\n\r\t") for mark in text
    )


def remember(task: Task, seen: dict[tuple[str, ...], str], as_what: str) -> str:
    """Why a task is not new (empty where it is); a new one is seen from now on.

    Two tasks are the same where their prompts differ at most in spaces; and where they differ at most in spaces and
    capitals *and* have the same answer, for "reverse aB" and "reverse ab" are two problems.
    """
    words = "\n".join(f"{message.role}: {plain(message.text)}" for message in task.prompt)
    images = tuple(b.digest for message in task.prompt for b in message.blocks if isinstance(b, Image))
    answer = plain(task.private.answer) if task.private else ""
    keys = ((words, *images), (words.casefold(), answer, *images, "and answer"))
    found = next((seen[key] for key in keys if key in seen), "")
    for key in keys:
        seen.setdefault(key, as_what)
    return found


def answer_leaks(task: Task) -> bool:
    r"""Whether the prompt tells the answer.

    A short answer stands in a prompt by chance ("3" in "3 apples and 4 pears"), so it counts only where it is announced
    and not one of a list of choices: "the answer is 3", "answer: 3", "#### 3", "\boxed{3}". One of 12 or more
    characters that stands whole in the prompt, between word boundaries, is quoted: 12 random digits or letters coincide
    less than once in a million million places. Tasks that ask for a quotation, or offer alternatives at length, need a
    rule of their own.
    """
    if task.private is None:
        return False
    answer = plain(task.private.answer).casefold()
    if not answer:
        return False
    prompt = plain(" ".join(message.text for message in task.prompt)).casefold()
    is_long = len(answer.replace(" ", "")) >= MIN_QUOTED_CHARS
    whole = re.compile(rf"(?<![\w.]){re.escape(answer)}(?![\w]|\.\w)")
    return any(
        is_long or (ANNOUNCED.search(prompt[: found.start()]) and not ALTERNATIVE.match(prompt, found.end()))
        for found in whole.finditer(prompt)
    )


def out_of_band(task: Task, solved: Mapping[str, float] | None, low: float, high: float) -> str:
    """Why a task's pass rate speaks against it, or nothing: it teaches only where some attempts pass and some fail."""
    if solved is None:
        return ""
    rate = solved.get(task.task_id)
    if rate is None:
        return "no pass rate"
    if rate >= high:
        return "solved too often"
    return "solved too rarely" if rate <= low else ""


def plain(text: str) -> str:
    """A text with one form for equal characters and one space for each run of them."""
    return " ".join(unicodedata.normalize("NFC", text).split())
