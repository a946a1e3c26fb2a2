"""Turns the words of the command line into a source of tasks."""

from __future__ import annotations

from pathlib import Path

from evolvent.errors import BadInput, nearest
from evolvent.tasks.datasets import SUFFIXES, Dataset
from evolvent.tasks.procedural import Procedural, family_names
from evolvent.tasks.reasoning import PREFIX, ReasoningGym
from evolvent.tasks.several import Several
from evolvent.tasks.source import Source

__all__ = ["source"]


def source(text: str, seed: int = 0) -> Source:
    """The source called `text`: parts joined by commas, each `family`, `family:level`, `reasoning_gym:NAME` or a file.

    A file ends in .jsonl, .json or .parquet; `reasoning_gym:NAME:level` names a level too. A family named with
    several levels (`chain:1,chain:2`) has just these.
    """
    if is_file(text) and ("," not in text or Path(text).exists()):
        return Dataset(text)
    parts: dict[tuple[str, str], list[int]] = {}
    for part in (word.strip() for word in text.split(",")):
        kind, name, level = read_part(part, text)
        parts.setdefault((kind, name), []).extend(level)
    found: list[Source] = []
    for (kind, levels), names in alike(parts).items():
        if kind == "file":
            found += [Dataset(name) for name in names]
        elif kind == "family":
            found.append(Procedural(names, seed, levels))
        else:
            found.append(ReasoningGym(names, seed, levels))
    return found[0] if len(found) == 1 else Several(tuple(found))


def read_part(part: str, text: str) -> tuple[str, str, list[int]]:
    """What one part names: the kind of source, the name, and the level if it says one."""
    if is_file(part):
        return "file", part, []
    in_gym = part.startswith(PREFIX)
    name, _, level = part.removeprefix(PREFIX).partition(":")
    if in_gym and name:
        return "gym", name, read_level(level, part)
    if name in family_names():
        return "family", name, read_level(level, part)
    known = [*family_names(), PREFIX + "NAME", *("FILE" + suffix for suffix in SUFFIXES)]
    raise BadInput(
        f"no source is called {part!r}" if part else "a source without a name",
        where=f"source={text}",
        got=part or "nothing",
        wanted="family[:level][,family...], reasoning_gym:NAME, or a path to .jsonl, .json or .parquet",
        cure=nearest(name, known),
    )


def read_level(level: str, part: str) -> list[int]:
    """The level of a part, as a list of none or one."""
    if not level:
        return []
    if not level.isdecimal():
        raise BadInput("a level is a whole number", where=part, got=level, wanted=f"{part.rsplit(':', 1)[0]}:1")
    return [int(level)]


def alike(parts: dict[tuple[str, str], list[int]]) -> dict[tuple[str, tuple[int, ...]], tuple[str, ...]]:
    """The names by kind and levels, so that families with the same levels become one source."""
    joined: dict[tuple[str, tuple[int, ...]], tuple[str, ...]] = {}
    for (kind, name), levels in parts.items():
        key = (kind, tuple(sorted(set(levels))))
        joined[key] = (*joined.get(key, ()), name)
    return joined


def is_file(text: str) -> bool:
    """Whether a text is the path of a data set."""
    return Path(text).suffix.lower() in SUFFIXES
