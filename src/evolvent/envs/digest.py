"""Turns the state of Python objects into one SHA-256 that is equal where their values are."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Mapping
from typing import Any


def digest_of(state: Any, is_kept: Callable[[str], bool] = lambda name: True) -> str:
    """SHA-256 of plain values, containers, random generators and objects; `is_kept` chooses attributes by name."""
    return hashlib.sha256(json.dumps(_Walk(is_kept).plain(state), sort_keys=True).encode()).hexdigest()


class _Walk:
    """Values as JSON; an object that was met before is named by its number, so that rings end."""

    def __init__(self, is_kept: Callable[[str], bool]) -> None:
        self._is_kept = is_kept
        self._met: dict[int, int] = {}
        self._alive: list[Any] = []  # an id is the id of one object only as long as that object lives

    def plain(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):  # 1.0 and 1 are equal
            return int(value) if value.is_integer() else repr(value)
        if isinstance(value, bytes):
            return {"bytes": value.hex()}
        if hasattr(value, "tolist"):  # arrays and numbers of numpy
            return {"array": self.plain(value.tolist())}
        if isinstance(value, random.Random):
            return {"random": self.plain(value.getstate())}
        if hasattr(value, "bit_generator"):
            return {"random": self.plain(value.bit_generator.state)}
        if callable(value):
            return {"callable": getattr(value, "__qualname__", type(value).__name__)}
        if id(value) in self._met:
            return {"again": self._met[id(value)]}
        self._met[id(value)] = len(self._met)
        self._alive.append(value)
        return self._parts(value)

    def _parts(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            # in the order of keys: which one was put in first is no part of a value, and numbers are given on the way
            named = {json.dumps(self.plain(key), sort_keys=True): part for key, part in value.items()}
            return {"mapping": [[name, self.plain(named[name])] for name in sorted(named)]}
        if isinstance(value, list | tuple):
            return [self.plain(part) for part in value]
        if isinstance(value, set | frozenset):
            return {"set": sorted(json.dumps(self.plain(part), sort_keys=True) for part in value)}
        found = {name: part for name, part in getattr(value, "__dict__", {}).items() if self._is_kept(name)}
        return {type(value).__qualname__: {name: self.plain(found[name]) for name in sorted(found)}}
