"""Reads the named values that an answer gives, as JSON or in words, and compares them with the wanted ones."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evolvent.rewards.numbers import read_number

MAX_CHARS = 8000  # of an answer, from its end: what stands before is thought, not answer
MAX_BARE_CHARS = 200
TOLERANCE = 0.05  # about one decimal, as in the published rubrics
_COPULA = r"\s*(?:\*\*|`|\"|')?\s*(?::|=|\bis\b|\bare\b|\bwas\b|\bwere\b)\s*"
_TRUE, _FALSE, _NONE = ("true", "yes"), ("false", "no"), ("none", "null", "nothing")


@dataclass(frozen=True)
class Given:
    """The values of an answer by field; a field named twice with different values is in `torn`, and has none."""

    values: Mapping[str, Any]
    torn: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def read_fields(answer: str, names: Sequence[str]) -> Given:
    """The fields of the JSON object in an answer, else those that its words name, else its one bare value.

    Two objects are two answers, and none is read. Words name a field as `name: value`,
    `name = value` or `name is value`, with spaces for underscores.
    """
    text = answer[-MAX_CHARS:].strip()
    objects = _objects(text)
    if len(objects) > 1:
        return Given({}, tuple(names))
    return _gathered(objects[0] if objects else list(_in_words(text, names)) or _bare(text, names), names)


def same_value(wanted: Any, given: Any, tolerance: float = TOLERANCE) -> bool:
    """Whether a value is the wanted one: numbers within the tolerance, words but for capitals, lists in any order."""
    if isinstance(wanted, bool) or wanted is None:
        words = _NONE if wanted is None else _TRUE if wanted else _FALSE
        return given is wanted or (isinstance(given, str) and plain(given) in words)
    if isinstance(wanted, int | float):
        number = _number(given)
        return number is not None and abs(number - wanted) <= tolerance
    if isinstance(wanted, str):
        return isinstance(given, str | int | float) and plain(str(given)) == plain(wanted)
    if isinstance(wanted, Mapping):
        return _same_mapping(wanted, given, tolerance)
    return _same_list(list(wanted), given, tolerance)


def kind_of(value: Any) -> str:
    """number, text, flag, list, object or nothing."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    return "object" if isinstance(value, Mapping) else "list"


def fits_kind(kind: str, given: Any) -> bool:
    """Whether a value is of a kind, or words that can be read as one."""
    if kind_of(given) == kind:
        return kind != "number" or math.isfinite(given)
    if not isinstance(given, str):
        return kind == "text" and isinstance(given, int | float) and not isinstance(given, bool)
    readable = {"number": _number(given) is not None, "flag": plain(given) in _TRUE + _FALSE, "list": bool(given)}
    return readable.get(kind, plain(given) in _NONE)


def plain(text: str) -> str:
    """Words in small letters with one space between, without quotation marks around or a full stop behind them."""
    words = " ".join(unicodedata.normalize("NFC", text).split()).casefold()
    return words.strip("*_`\"' ").rstrip(".,;").strip("*_`\"' ")


def _bare(text: str, names: Sequence[str]) -> list[tuple[str, Any]]:
    is_value = len(names) == 1 and 0 < len(text) <= MAX_BARE_CHARS and not set("\n{}") & set(text)
    return [(names[0], text)] if is_value else []


def _gathered(pairs: Sequence[tuple[str, Any]], names: Sequence[str]) -> Given:
    known = {_key(name): name for name in names}
    values: dict[str, Any] = {}
    torn, others = [], []
    for said, value in pairs:
        name = known.get(_key(said))
        if name is None:
            others.append(said)
        elif name in values and not same_value(values[name], value, 0.0):
            torn.append(name)
        else:
            values.setdefault(name, value)
    return Given({n: v for n, v in values.items() if n not in torn}, tuple(dict.fromkeys(torn)), tuple(others))


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _objects(text: str) -> list[list[tuple[str, Any]]]:
    """The JSON objects that stand in a text, each as pairs, for a key may come twice."""
    decoder = json.JSONDecoder(object_pairs_hook=_Pairs)
    found: list[list[tuple[str, Any]]] = []
    at = text.find("{")
    while at >= 0:
        try:
            pairs, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at = text.find("{", at + 1)
            continue
        found.append([(name, _settled(value)) for name, value in pairs])
        at = text.find("{", end)
    return found


class _Pairs(list[tuple[str, Any]]):
    """An object as it was written."""


def _settled(value: Any) -> Any:
    if isinstance(value, _Pairs):
        return {name: _settled(inner) for name, inner in value}
    return [_settled(inner) for inner in value] if isinstance(value, list) else value


def _in_words(text: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    if not names:
        return
    longest_first = sorted(names, key=len, reverse=True)
    any_name = "|".join(r"[\s_-]+".join(map(re.escape, _key(name).split())) for name in longest_first)
    found = list(re.finditer(rf"(?<![\w-])({any_name})(?![\w-]){_COPULA}", text, flags=re.IGNORECASE))
    for i, match in enumerate(found):
        stop = found[i + 1].start() if i + 1 < len(found) else len(text)
        value = re.split(r"[\n;]|\.(?:\s|$)", text[match.end() : stop], maxsplit=1)[0]
        yield match[1], re.sub(r"(?:[\s,]|\b(?:and|the|its)\b)+$", "", value).strip()


def _number(given: Any) -> float | None:
    if isinstance(given, bool):
        return None
    if isinstance(given, int | float):
        return float(given) if math.isfinite(given) else None
    if not isinstance(given, str) or len(given) > MAX_BARE_CHARS:
        return None
    value = read_number(given).value
    return None if value is None else float(value)


def _same_mapping(wanted: Mapping[str, Any], given: Any, tolerance: float) -> bool:
    return (
        isinstance(given, Mapping)
        and set(given) == set(wanted)
        and all(same_value(value, given[name], tolerance) for name, value in wanted.items())
    )


def _same_list(wanted: list[Any], given: Any, tolerance: float) -> bool:
    if isinstance(given, str):
        given = [part for part in re.split(r",|\band\b|;|\n", given.strip("[]() ")) if part.strip()]
    if not isinstance(given, Sequence) or len(given) != len(wanted):
        return False
    left = list(given)
    for value in wanted:
        place = next((i for i, other in enumerate(left) if same_value(value, other, tolerance)), None)
        if place is None:
            return False
        del left[place]
    return True
