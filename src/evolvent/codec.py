"""Frozen dataclasses as plain JSON and back without loss: every object says what it `is` by its import path."""

from __future__ import annotations

import base64
import dataclasses
import functools
import importlib
import json
import math
from collections.abc import Callable, Mapping
from enum import StrEnum
from types import FunctionType
from typing import Any

from evolvent.errors import BadInput, nearest


def locate(path: str) -> Any:
    """The object behind `package.module:name`."""
    module, _, name = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise BadInput(
            f"nothing found at {path!r}",
            got=f"{type(error).__name__}: {error}",
            wanted="an import path such as package.module:name",
            cure="check the spelling, and that the module is on sys.path",
        ) from error
    return found


def path_of(thing: Any) -> str:
    """The import path of a class or function: the inverse of `locate`."""
    path = f"{thing.__module__}:{thing.__qualname__}"
    if "<" in path or "." in thing.__qualname__:
        raise BadInput(
            f"{path} cannot be written down",
            got="a lambda, closure or nested definition",
            wanted="a function or frozen dataclass at the top level of a module",
            cure="move it to the top level, or make it a frozen dataclass with __call__",
        )
    return path


def encode(value: Any) -> Any:
    """A record, or anything made of records, as plain JSON values; every object says what it `is`."""
    if value is None or isinstance(value, bool | int) or type(value) is str:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"is": "float", "value": repr(value)}
    if isinstance(value, StrEnum):
        return {"is": path_of(type(value)), "value": value.value}
    if isinstance(value, tuple | list):
        return [encode(v) for v in value]
    if isinstance(value, bytes):
        return {"is": "bytes", "value": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        if not all(isinstance(k, str) for k in value):
            raise BadInput("a mapping with keys that are not strings has no JSON form", got=list(value)[:3])
        plain = {k: encode(v) for k, v in value.items()}
        return {"is": "dict", "value": plain} if "is" in value else plain
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return {"is": path_of(type(value)), **fields}
    if isinstance(value, FunctionType | type):
        return {"is": "function", "value": path_of(value)}
    raise BadInput(f"{type(value).__name__} has no JSON form", got=repr(value)[:80])


def decode(value: Any) -> Any:
    """The inverse of `encode`; JSON arrays come back as tuples."""
    if isinstance(value, list):
        return tuple(decode(v) for v in value)
    if not isinstance(value, dict):
        return value
    if "is" not in value:
        return {k: decode(v) for k, v in value.items()}
    kind, rest = value["is"], {k: v for k, v in value.items() if k != "is"}
    if not isinstance(kind, str):
        raise BadInput('"is" names no class', got=repr(kind)[:80], wanted="an import path such as package.module:name")
    if kind in _PLAIN:
        try:
            return _PLAIN[kind](rest["value"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, BadInput):
                raise
            wanted = f'{{"is": "{kind}", "value": ...}}'
            raise BadInput(f"not a {kind}", where=kind, got=str(rest)[:80], wanted=wanted) from error
    return _rebuild(kind, {k: decode(v) for k, v in rest.items()})


_PLAIN: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "bytes": functools.partial(base64.b64decode, validate=True),
    "dict": lambda value: {k: decode(v) for k, v in value.items()},
    "function": locate,
}


def _rebuild(kind: str, arguments: dict[str, Any]) -> Any:
    """A record or a word of a closed list; nothing else is called, so that a file cannot run code of its choice."""
    found = locate(kind)
    if isinstance(found, type) and issubclass(found, StrEnum):
        known = [member.value for member in found]
        if arguments.get("value") not in known:
            raise BadInput(f"no such {kind}", where=kind, got=arguments.get("value"), wanted=" | ".join(known))
        return found(arguments["value"])
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise BadInput("only records are rebuilt", where=kind, got=repr(found)[:80], wanted="a dataclass or a StrEnum")
    names = [f.name for f in dataclasses.fields(found) if f.init]
    unknown = [name for name in arguments if name not in names]
    if unknown:
        raise BadInput(f"{kind} has no {unknown[0]!r}", where=kind, got=unknown[0], cure=nearest(unknown[0], names))
    try:
        return found(**arguments)
    except TypeError as error:
        raise BadInput(
            f"cannot rebuild {kind}", where=kind, got=", ".join(arguments), wanted=", ".join(names), cure=str(error)
        ) from error


def to_json(value: Any, indent: int | None = None) -> str:
    """A record as a JSON text."""
    return json.dumps(encode(value), indent=indent, ensure_ascii=True, allow_nan=False)


def from_json(text: str) -> Any:
    """The record that `to_json` wrote."""
    try:
        plain = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(
            f"not JSON: {error.msg}",
            where=f"line {error.lineno}, column {error.colno}",
            got=repr(text[max(0, error.pos - 30) : error.pos + 30]),
            wanted="a text that to_json wrote",
        ) from error
    return decode(plain)
