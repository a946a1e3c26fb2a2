"""Turns named numbers into lines of JSON that are the same bytes for the same numbers, and back."""

from __future__ import annotations

import json
import logging
import math
import numbers
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evolvent.errors import BadInput, StoreError
from evolvent.store.atomic import whole_lines, write_text

_log = logging.getLogger("evolvent.store")


def as_line(step: int, values: Mapping[str, Any]) -> str:
    """One line: the step first, then the keys in order; NaN and infinities become null, which JSON can carry."""
    if "step" in values and values["step"] != step:
        raise BadInput("a line says two steps", got=values["step"], wanted=step, cure="leave `step` out of the values")
    rest = {key: _plain(value, key) for key, value in sorted(values.items()) if key != "step"}
    return json.dumps({"step": int(step), **rest}, ensure_ascii=True, allow_nan=False)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file; a half-written last line is left out and said, a broken one before it is an error."""
    lines, torn = whole_lines(path)
    if torn:
        _log.warning("%s: line %d is half-written and was left out (%r)", path, len(lines) + 1, torn[:60])
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            read = json.loads(line)
        except json.JSONDecodeError as error:
            raise _broken(path, number, line, str(error)) from error
        if not isinstance(read, dict) or not isinstance(read.get("step"), int):
            raise _broken(path, number, line, "no object with a whole number `step`")
        found.append(read)
    return found


def keep_lines_up_to(path: Path, step: int) -> None:
    """Drop the lines of later steps, and a half-written end; the lines that stay keep their bytes."""
    if not path.exists():
        return
    steps = [line["step"] for line in read_lines(path)]
    lines, torn = whole_lines(path)
    kept = [line for line, at in zip(lines, steps, strict=True) if at <= step]
    if torn or len(kept) < len(lines):
        write_text(path, "".join(line + "\n" for line in kept))


def _plain(value: Any, key: str) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _plain(inner, f"{key}.{name}") for name, inner in sorted(value.items())}
    raise BadInput(
        f"{key} cannot be logged",
        got=f"{type(value).__name__}: {value!r}"[:120],
        wanted="a number, a text, None, or a mapping of these",
        cure="turn it into a float first (a tensor by .item())",
    )


def _broken(path: Path, number: int, line: str, why: str) -> StoreError:
    return StoreError(
        f"line {number} of {path.name} is broken: {why}",
        where=str(path.absolute()),
        got=line[:120],
        wanted='one JSON object per line, such as {"step": 1, "loss": 0.5}',
        cure=f"delete line {number}, or go back to a checkpoint with evolvent run --resume {path.parent}",
    )
