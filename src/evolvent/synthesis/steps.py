"""A call that ran, a chain of them, and what their observations hold: leaves, refusals, what two of them agree on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from evolvent.envs.databases import Value

MAX_REFUSAL_CHARS = 200
REFUSALS = re.compile(
    r"\b(?:not (?:be )?found|no such|does(?: not|n't) exist|unknown|invalid|fail(?:ed|ure)|error|denied|cannot)\b", re.I
)
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Source:
    """Where an argument came from: a place in the observation of a step, or the data (step -1)."""

    step: int = -1
    path: Path = ()
    how: str = "observation"


@dataclass(frozen=True)
class Step:
    """A call that ran, what it gave back, and where its arguments came from."""

    tool: str
    arguments: Mapping[str, Value]
    observation: Any
    sources: Mapping[str, Source] = field(default_factory=dict)


@dataclass(frozen=True)
class Chain:
    """Steps in order, the digest in which they left the world, and whether that is another than before."""

    steps: tuple[Step, ...]
    state: str
    is_changed: bool

    @property
    def key(self) -> str:
        """Equal for chains of the same calls."""
        return json.dumps([[step.tool, step.arguments] for step in self.steps], sort_keys=True)


def stable(one: Any, other: Any) -> Any:
    """What two observations agree on: fields that differ are gone, and a list of another length is None."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        kept = {name: stable(value, other[name]) for name, value in one.items() if name in other}
        return {name: value for name, value in kept.items() if value is not None or one[name] is other[name]}
    if isinstance(one, list) and isinstance(other, list):
        return [stable(a, b) for a, b in zip(one, other, strict=True)] if len(one) == len(other) else None
    return one if type(one) is type(other) and one == other else None


def leaves(observation: Any, path: Path = ()) -> Iterator[tuple[Path, Value]]:
    """Every single value of an observation that is not null, with the way to it."""
    if isinstance(observation, Mapping):
        for name, value in observation.items():
            yield from leaves(value, (*path, name))
    elif isinstance(observation, list):
        for i, value in enumerate(observation):
            yield from leaves(value, (*path, i))
    elif observation is not None:
        yield path, observation


def is_refused(observation: Any) -> bool:
    """Whether an observation is a refusal, or holds nothing."""
    if observation is REFUSED or observation is None or observation in ([], {}, ""):
        return True
    if isinstance(observation, Mapping):
        if observation.get("ok") is False or observation.get("success") is False:
            return True
        if any(observation.get(name) for name in ("error", "errors")) or observation.get("status") == "error":
            return True
        return any(is_refusal(observation.get(name)) for name in ("message", "detail", "result"))
    return is_refusal(observation)


def is_refusal(value: Any) -> bool:
    """Whether words sound as if nothing was done."""
    return isinstance(value, str) and len(value) <= MAX_REFUSAL_CHARS and REFUSALS.search(value) is not None


class Refused:
    """What comes back instead of an observation where a tool reports an error."""


REFUSED = Refused()
