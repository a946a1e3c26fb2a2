"""Turns nested mappings into TOML; the standard library only reads it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from typing import Any

from evolvent.errors import BadInput


def to_toml(table: Mapping[str, Any]) -> str:
    """A TOML document that `tomllib` reads back as the same mapping; values of None are left out."""
    return "\n".join(_lines(table, ())).strip() + "\n"


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    """Plain values first: after the head of a table, everything belongs to it."""
    found = {key: value for key, value in table.items() if value is not None}
    lines = [f"{_key(key)} = {_value(v, (*path, key))}" for key, v in found.items() if not _has_head(v)]
    for key, value in found.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{_joined(path, key)}]", *_lines(value, (*path, key))]
        elif _has_head(value):
            for item in value:
                lines += ["", f"[[{_joined(path, key)}]]", *_lines(item, (*path, key))]
    return lines


def _has_head(value: Any) -> bool:
    """Whether a value is a table, or a list of nothing but tables."""
    is_list = isinstance(value, list | tuple) and bool(value)
    return isinstance(value, Mapping) or (is_list and all(isinstance(item, Mapping) for item in value))


def _joined(path: Sequence[str], key: str) -> str:
    return ".".join(map(_key, (*path, key)))


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _text(key)


def _text(text: str) -> str:
    # JSON's escapes are TOML's, but for letters outside the first plane, and for DEL
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _value(value: Any, path: Sequence[str]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item, path) for item in value)}]"
    if isinstance(value, Mapping):
        pairs = (f"{_key(k)} = {_value(v, (*path, k))}" for k, v in value.items() if v is not None)
        return f"{{{', '.join(pairs)}}}"
    raise BadInput("this has no form in TOML", where=".".join(path), got=type(value).__name__)
