"""Reads the one number that an answer gives, or says why there is none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_CHARS = 400  # of one number: longer ones cost more to read than any honest answer needs
_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{{1,3}})?"
_NUMBER = re.compile(rf"([+-]?)\(?([+-]?)({_DECIMAL})(?:/({_DECIMAL}))?\)?(%?)")
_OPERATORS = ("+", "-", "*", "/", "^", "×", "±")
_JOINS = ("or", "and", "to", "and/or", "&", "vs", "versus")
_LATEX = (
    (r"\\(?:left|right|displaystyle)(?![a-zA-Z])|\\[,;:! ]", ""),
    (r"\{,\}", ","),
    (r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"(\1)/(\2)"),
    (r"\\[dt]?frac\s*([0-9])\s*([0-9])", r"\1/\2"),
    (r"\(([0-9.,]+)\)/\(([0-9.,]+)\)", r"\1/\2"),
    (r"\\(?:text|mathrm|textbf|mathbf)\s*\{([^{}]*)\}", r" \1 "),
    (r"\^\s*\{?\s*\\circ\s*\}?|°", ""),
    (r"\\times|\\cdot", "*"),
    (r"\\pm", "±"),
    (r"\\%", "%"),
    (r"\\[()\[\]]|\\?\$|[€£]", " "),
    (r"</?[a-zA-Z_]+>", " "),
    ("[−–]", "-"),
    (r"=|≈|\\approx|\\equiv", " = "),
    (r"(?<=[0-9])\s+%", "%"),
)


@dataclass(frozen=True, slots=True)
class Reading:
    """A number with the words it was read from; `value` is None where there is none, and `why` says so."""

    value: Fraction | None
    why: str


def read_number(text: str) -> Reading:
    r"""The number that an answer gives: in the last `\boxed{}`, else after the last `####`, else the last number.

    Read: signs, decimals, 1e-3, 1,234.5, 3/4, \frac{3}{4}, 50% (= 1/2), $, degrees, and a unit as a word of its own.
    Not read: 12 or 13, 3, 4, 10-5, 2^5, 1 1/2, 5kg, 12,34. After the last `=` stands what counts.
    """
    box = last_boxed(text)
    if box is not None:
        return _only(box, rf"\boxed{{{_short(box)}}}")
    if "####" in text:
        line = text.rsplit("####", 1)[1].strip().split("\n")[0]
        return _only(line, f"#### {_short(line)}")
    return _last(_plain(text), f"the end of {_short(text, at_end=True)!r}")


def last_boxed(text: str) -> str | None:
    r"""What stands in the last complete `\boxed{...}` (or `\fbox`), braces balanced."""
    starts: list[int | None] = []
    found: tuple[int, int] | None = None
    for match in re.finditer(r"\\[{}]|\\f?box(?:ed)?\s*\{|[{}]", text):
        if match.group() == "}":
            start = starts.pop() if starts else None
            if start is not None and (found is None or start > found[0]):
                found = (start, match.start())
        elif match.group()[-1] == "{" and match.group() != r"\{":
            starts.append(match.end() if "box" in match.group() else None)
    return text[found[0] : found[1]] if found else None


def _only(text: str, where: str) -> Reading:
    words = _plain(text)
    last = words[len(words) - words[::-1].index("=") :] if "=" in words else words
    if sum(_has_digit(word) for word in last) > 1:
        return Reading(None, f"more than one number in {where}")
    return _last(words, where)


def _last(words: list[str], where: str) -> Reading:
    at = next((i for i in reversed(range(len(words))) if _has_digit(words[i])), None)
    if at is None:
        return Reading(None, f"no number in {where}")
    word, before = _stripped(words[at]), words[:at]
    sign = ""
    if before and before[-1] == "-" and (len(before) < 2 or not _ends_a_term(before[-2])):
        sign, before = "-", before[:-1]
    if before and _is_joined(before):
        return Reading(None, f"more than one number, or an expression, in {where}")
    if after := [w for w in words[at + 1 :] if w in _OPERATORS]:
        return Reading(None, f"{after[0]!r} after the number in {where}")
    value = _value(sign + word)
    return Reading(
        value, f"read {_short(str(value))} from {where}" if value is not None else f"{_short(word)!r} is not a number"
    )


def _plain(text: str) -> list[str]:
    for pattern, instead in _LATEX:
        text = re.sub(pattern, instead, text)
    return text.split()


def _stripped(word: str) -> str:
    word = word.strip("*_`\"':;!?")
    word = word.rstrip(".,;:!?)]}*_`\"'") if "(" not in word[:2] else word.rstrip(".,;:!?*_`\"'")
    return word.lstrip("[{*_`\"':") if not word.endswith(")") else word


def _is_joined(before: list[str]) -> bool:
    """Whether the words before a number make it part of a list, an expression or a mixed number."""
    last = before[-1]
    if last.lower() in _JOINS or last in _OPERATORS:
        return len(before) > 1 and _ends_a_term(before[-2].rstrip(","))
    return _ends_a_term(last) or (last[-1] in ",;" and _value(_stripped(last)) is not None)


def _ends_a_term(word: str) -> bool:
    return bool(re.search(r"[0-9)\]%]$", word)) and _has_digit(word)


def _value(word: str) -> Fraction | None:
    match = _NUMBER.fullmatch(word)
    if match is None or len(word) > MAX_CHARS or word.count("(") != word.count(")") or (match[1] and match[2]):
        return None
    top, bottom = Fraction(match[3].replace(",", "")), Fraction((match[4] or "1").replace(",", ""))
    if bottom == 0:
        return None
    value = top / bottom * (-1 if "-" in (match[1], match[2]) else 1)
    return value / 100 if match[5] else value


def _has_digit(word: str) -> bool:
    return bool(re.search("[0-9]", word))


def _short(text: str, max_chars: int = 60, *, at_end: bool = False) -> str:
    text = " ".join(text.split())
    if len(text) <= max_chars:
        return text
    return "..." + text[3 - max_chars :] if at_end else text[: max_chars - 3] + "..."
