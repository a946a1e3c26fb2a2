"""A declared space of parameters (public/space.json): its points are drawn, changed, crossed and checked."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from evolvent.errors import BadInput, nearest
from evolvent.hive.paths import complain

SPACE = "space.json"
KINDS = ("int", "float", "choice", "bool")
FIELDS = {"int": {"low", "high", "log"}, "float": {"low", "high", "log"}, "choice": {"values"}, "bool": set[str]()}
MAX_PARAMS, MAX_VALUES = 256, 256
STEP_FRAC = 0.2  # of the range: the spread of a step, as evolution strategies begin with (Hansen, arXiv:1604.00772)

Value = int | float | str | bool
Point = Mapping[str, Value]  # one value for each parameter, in the order of the space


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter: a range of numbers, or a list of values (a bool has two)."""

    name: str
    kind: Literal["int", "float", "choice", "bool"]
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    values: tuple[Value, ...] = ()

    def draw(self, rng: Random) -> Value:
        """A value, each as likely as any other; on a logarithmic scale where the parameter has one."""
        if self.values:
            return rng.choice(self.values)
        return self.at(rng.random())

    def at(self, share: float) -> Value:
        """The number that lies at this share of the range, from 0 to 1."""
        if self.kind == "int" and not self.log:  # every whole number has an equal part of the range
            return int(min(self.low + math.floor(share * (self.high - self.low + 1)), self.high))
        return self.clip(self._number(share))

    def step(self, value: Value, rng: Random) -> Value:
        """Another value near this one; any other one of a list."""
        if self.values:
            others = [one for one in self.values if not is_same(one, value)]
            return rng.choice(others) if others else value
        moved = self._share(float(value)) + rng.gauss(0.0, STEP_FRAC)
        moved = abs(moved) if moved < 0 else 2 - moved if moved > 1 else moved  # a step over the end comes back
        found = self.clip(self._number(moved))
        if self.kind == "float" or found != value or self.low == self.high:
            return found
        sides = [one for one in (float(value) - 1, float(value) + 1) if self.low <= one <= self.high]
        return int(rng.choice(sides))

    def clip(self, value: Any) -> Value:
        """The nearest value that the parameter can have; the first of a list for what is not in it."""
        if self.values:
            return next((one for one in self.values if is_same(one, value)), self.values[0])
        number = float(value) if is_number(value) else self.low
        number = min(max(number, self.low), self.high)
        return (
            int(min(max(round(number), math.ceil(self.low)), math.floor(self.high))) if self.kind == "int" else number
        )

    def complain(self, value: Any) -> str:
        """Why this is no value of the parameter; empty where it is one."""
        if self.values:
            return "" if any(is_same(one, value) for one in self.values) else f"one of {list(self.values)}"
        if not is_number(value) or (self.kind == "int" and int(value) != value):
            return "a whole number" if self.kind == "int" else "a number"
        return "" if self.low <= value <= self.high else f"{self.low:g} to {self.high:g}"

    def _number(self, share: float) -> float:
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        number = low + min(max(share, 0.0), 1.0) * (high - low)
        return math.exp(number) if self.log else number

    def _share(self, number: float) -> float:
        if self.low == self.high:
            return 0.5
        if self.log:
            return math.log(number / self.low) / math.log(self.high / self.low)
        return (number - self.low) / (self.high - self.low)


@dataclass(frozen=True, slots=True)
class Space:
    """The parameters of a task, and the file that holds them."""

    file: str
    params: tuple[Param, ...]

    def draw(self, rng: Random) -> dict[str, Value]:
        """A point anywhere."""
        return {one.name: one.draw(rng) for one in self.params}

    def mutate(self, point: Point, rng: Random) -> dict[str, Value]:
        """A point near this one: each parameter is changed with the chance 1/n, and one at least."""
        chosen = [one.name for one in self.params if rng.random() < 1 / len(self.params)]
        chosen = chosen or [rng.choice(self.params).name]
        return {
            one.name: one.step(point[one.name], rng) if one.name in chosen else point[one.name] for one in self.params
        }

    def cross(self, point: Point, other: Point, rng: Random) -> dict[str, Value]:
        """A child of two points: each parameter from one of them, by a fair coin."""
        return {one.name: (point if rng.random() < 0.5 else other)[one.name] for one in self.params}

    def clip(self, words: Mapping[str, Any]) -> dict[str, Value]:
        """The nearest point to what stands in a file; a parameter that is not there gets its least or first value."""
        return {one.name: one.clip(words.get(one.name)) for one in self.params}

    def check(self, words: Any, where: str = "") -> dict[str, Value]:
        """The point that this is; BadInput where it is none."""
        where = where or self.file
        if not isinstance(words, Mapping):
            raise BadInput("a point is a JSON object", where=where, got=ascii(words)[:80], wanted=self._example())
        known = [one.name for one in self.params]
        for name in words:
            if name not in known:
                raise BadInput(f"no parameter {name!r}", where=where, got=name, cure=nearest(str(name), known))
        for one in self.params:
            if one.name not in words:
                raise BadInput("a parameter has no value", where=f"{where}: {one.name}", wanted=self._example())
            if wanted := one.complain(words[one.name]):
                raise BadInput(
                    "a value lies outside of the space",
                    where=f"{where}: {one.name}",
                    got=ascii(words[one.name])[:80],
                    wanted=wanted,
                )
        return {one.name: one.clip(words[one.name]) for one in self.params}

    def read(self, data: bytes | None) -> dict[str, Value] | None:
        """The point in the bytes of the file, None where an agent has written something else into it."""
        try:
            return self.check(json.loads(data or b""))
        except (ValueError, RecursionError):
            return None

    def write(self, point: Point) -> bytes:
        """The whole new content of the file."""
        return (json.dumps({one.name: point[one.name] for one in self.params}, indent=1) + "\n").encode()

    def key(self, point: Point) -> Hashable:
        """What is the same for the same point and no other: 1 is not true."""
        return tuple((type(point[one.name]), point[one.name]) for one in self.params)

    def tell(self, point: Point, parent: Point | None) -> str:
        """In a few words what differs from the parent: `order 3 -> 4, rate 0.1 -> 0.05`."""
        if parent is None:
            return ", ".join(f"{name} {shown(value)}" for name, value in point.items())
        changed = [name for name in point if not is_same(point[name], parent[name])]
        return ", ".join(f"{name} {shown(parent[name])} -> {shown(point[name])}" for name in changed) or "no change"

    def _example(self) -> str:
        return json.dumps({one.name: one.values[0] if one.values else one.clip(one.low) for one in self.params})


def read_space(data: bytes, where: str = SPACE) -> Space:
    """The space that a task declares; BadInput says what is wrong with it."""
    try:
        words = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadInput(
            "the space is no JSON", where=where, got=str(error), cure="write it as docs/hive.md shows"
        ) from error
    if not isinstance(words, dict) or set(words) != {"file", "params"}:
        got = sorted(words) if isinstance(words, dict) else type(words).__name__
        raise BadInput("a space has a file and params", where=where, got=got, wanted='{"file": ..., "params": {...}}')
    file, params = words["file"], words["params"]
    trouble = complain(file) if isinstance(file, str) and file else "is no path"
    if trouble:
        raise BadInput(
            f"the file of parameters {trouble}", where=f"{where}: file", got=ascii(file), wanted="params.json"
        )
    if not isinstance(params, dict) or not 1 <= len(params) <= MAX_PARAMS:
        wanted = f"1 to {MAX_PARAMS} parameters by name"
        raise BadInput("a space has parameters", where=f"{where}: params", got=ascii(params)[:80], wanted=wanted)
    return Space(file, tuple(_read_param(name, one, f"{where}: params.{name}") for name, one in params.items()))


def _read_param(name: str, words: Any, where: str) -> Param:
    if not isinstance(words, dict) or words.get("kind") not in KINDS:
        got = words.get("kind") if isinstance(words, dict) else words
        raise BadInput("a parameter has a kind", where=where, got=ascii(got)[:80], wanted=" | ".join(KINDS))
    kind = words["kind"]
    for key in words:
        if key not in FIELDS[kind] | {"kind"}:
            known = sorted(FIELDS[kind])
            cure = nearest(key, known) if known else "leave it out"
            raise BadInput(f"a parameter of kind {kind} has no {key!r}", where=where, got=key, cure=cure)
    if kind == "bool":
        return Param(name, "bool", values=(False, True))
    return _read_choice(name, words, where) if kind == "choice" else _read_range(name, words, where)


def _read_choice(name: str, words: Mapping[str, Any], where: str) -> Param:
    values: Any = words.get("values")
    good = isinstance(values, list) and 1 <= len(values) <= MAX_VALUES
    if not good or not all(isinstance(one, str | bool) or is_number(one) for one in values):
        wanted = f"a list of 1 to {MAX_VALUES} texts, numbers or truths"
        raise BadInput("a choice has values", where=f"{where}.values", got=ascii(values)[:80], wanted=wanted)
    if len({json.dumps(one) for one in values}) != len(values):
        raise BadInput("a value is there twice", where=f"{where}.values", got=ascii(values)[:80], cure="name it once")
    return Param(name, "choice", values=tuple(values))


def _read_range(name: str, words: Mapping[str, Any], where: str) -> Param:
    kind, log = words["kind"], words.get("log", False)
    low: Any = words.get("low")
    high: Any = words.get("high")
    what = "whole numbers" if kind == "int" else "numbers"
    good = is_number(low) and is_number(high) and (kind == "float" or (int(low) == low and int(high) == high))
    if not good or low > high:
        raise BadInput(
            "a range has two ends", where=where, got=f"low {low!a}, high {high!a}", wanted=f"{what}, low <= high"
        )
    if not isinstance(log, bool) or (log and low <= 0):
        wanted = "true with low > 0, or false"
        raise BadInput(
            "the scale cannot be logarithmic", where=f"{where}.log", got=f"{log!a}, low {low!a}", wanted=wanted
        )
    return Param(name, kind, low=low, high=high, log=log)


def is_number(value: Any) -> bool:
    """Whether this is a finite number, which a truth is not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 2**53


def is_same(one: Value, other: Any) -> bool:
    """Whether two values are the same, where 1 is not true."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def shown(value: Value) -> str:
    """A value as a person reads it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
