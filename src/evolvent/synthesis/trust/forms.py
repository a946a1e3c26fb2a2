"""Makes wrong answers and other forms of the right one from a true answer, by what kind of answer it is."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from fractions import Fraction

WHOLE = re.compile(r"[+-]?[0-9]{1,100}")
NUMBER = re.compile(r"[+-]?[0-9]{1,100}(\.[0-9]{1,100})?")
PARTS = re.compile(r"[^\s,;]+")
OPPOSITES = {"yes": "no", "no": "yes", "true": "false", "false": "true"}
CLAIMED = {"exact": ("spaces around", "a line break behind")}
"""What a check says that it accepts, by its name, where that is less than all forms."""
SEVERAL_RIGHT = ("evolvent.rewards.programs:check", "evolvent.tasks.procedural.countdown:check")
"""Checks that compute, for tasks with more right answers than the stored one; others say so in private.data."""
HEDGES = ("or another", "another or this", "another behind", "another before", "a list of guesses")
MAY_BE_RIGHT = ("neighbours swapped", "parts swapped", "said twice")
"""Where several answers are right, or order is free, these are no mistakes: only a person can tell."""


def wrong_forms(answer: str, others: Sequence[str]) -> dict[str, str]:
    """Wrong answers by name; `others` are answers to other tasks, for whoever hedges."""
    if NUMBER.fullmatch(answer):  # a word beside the one number hedges nothing
        others = [other for other in others if NUMBER.fullmatch(other)]
    other = next((o for o in others if plain(o) != plain(answer)), "5" if plain(answer) != "5" else "6")
    guesses = list(dict.fromkeys([*others, answer]))
    made = _wrong_number(answer) if NUMBER.fullmatch(answer) else _wrong_words(answer)
    made |= {
        "or another": f"{answer} or {other}",
        "another or this": f"{other} or {answer}",
        "another behind": f"{answer}, {other}",
        "another before": f"{other}, {answer}",
    }
    if len(guesses) > 2:
        made["a list of guesses"] = "\n".join(guesses[:50])
    return {name: form for name, form in made.items() if _differs(form, answer)}


def equal_forms(answer: str, judge: str = "") -> dict[str, str]:
    """The right answer in other clothes, by name, as far as the check called `judge` claims to know it in them."""
    made = {
        "spaces around": f"  {answer} ",
        "a line break behind": f"{answer}\n",
        "a full stop behind": f"{answer}.",
        "in a box": rf"\boxed{{{answer}}}",
        "bold": f"**{answer}**",
        "in a sentence": f"The answer is {answer}.",
    }
    if WHOLE.fullmatch(answer):
        number = int(answer)
        made["with .0"] = f"{number}.0"
        if number > 0:
            made["with a plus"] = f"+{number}"
        if number < 0:
            made["with a typographic minus"] = f"\N{MINUS SIGN}{-number}"
        if abs(number) >= 1000:
            made["with commas"] = f"{number:,}"
    claimed = CLAIMED.get(judge.rpartition(":")[2], tuple(made))
    return {name: form for name, form in made.items() if form != answer and name in claimed}


def says(text: str, answer: str) -> bool:
    """Whether a text happens to say the answer among its words, whatever else it says."""
    if NUMBER.fullmatch(answer):
        return any(
            Fraction(found) == Fraction(answer) for found in re.findall(r"[+-]?[0-9]{1,100}(?:\.[0-9]{1,100})?", text)
        )
    return re.search(rf"(?<!\w){re.escape(plain(answer))}(?!\w)", plain(text)) is not None


def plain(text: str) -> str:
    """A text without capitals and with single spaces."""
    return " ".join(text.split()).casefold()


def _wrong_number(answer: str) -> dict[str, str]:
    whole = WHOLE.fullmatch(answer) is not None
    decimals = 0 if whole else len(answer.partition(".")[2])
    value = Fraction(answer)

    def written(number: Fraction) -> str:
        return str(int(number)) if whole else f"{float(number):.{decimals}f}"

    made = {"one more": written(value + 1), "one less": written(value - 1), "the other sign": written(-value)}
    made |= {"a digit more": answer + "7", "a digit less": answer[:-1], "digits swapped": _swapped(answer)}
    return {name: form for name, form in made.items() if NUMBER.fullmatch(form) and Fraction(form) != value}


def _wrong_words(answer: str) -> dict[str, str]:
    found = list(PARTS.finditer(answer))
    made: dict[str, str] = {}
    if plain(answer) in OPPOSITES:
        made["the opposite"] = OPPOSITES[plain(answer)]
    if len(found) > 1:
        made["a part dropped"] = answer[: found[-1].start()].rstrip(" ,;\n\t")
        pair = next(((a, b) for a, b in itertools.pairwise(found) if a[0] != b[0]), None)
        if pair:
            a, b = pair
            made["parts swapped"] = answer[: a.start()] + b[0] + answer[a.end() : b.start()] + a[0] + answer[b.end() :]
    elif len(answer) > 1:
        made["neighbours swapped"] = _swapped(answer)
    if len(answer) > 1:
        made["cut in half"] = answer[: len(answer) // 2].strip()
    made["said twice"] = f"{answer} {answer}"
    return {name: form for name, form in made.items() if form}


def _swapped(text: str) -> str:
    """The first two neighbouring letters or digits that differ, swapped."""
    for i in range(len(text) - 1):
        if text[i] != text[i + 1] and text[i].isalnum() and text[i + 1].isalnum():
            return text[:i] + text[i + 1] + text[i] + text[i + 2 :]
    return ""


def _differs(form: str, answer: str) -> bool:
    return "".join(plain(form).split()) != "".join(plain(answer).split())
