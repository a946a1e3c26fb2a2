"""Finds the world, and the tasks played in it, behind a word of the command line."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from evolvent.cli.values import SOURCE_CODE, read_value
from evolvent.envs.world import WorldPlan
from evolvent.errors import BadInput
from evolvent.plans import Improve
from evolvent.records import Origin, Reference, Task, said
from evolvent.tasks.source import Source

WANTED = (
    "a source (chain:2), gym:ID, bfcl:CATEGORY, servers.json[#NAME], a folder of worlds, a URL of MCP (http://.../mcp) "
    "or OpenEnv (ws://...), or module:name(args)"
)


@dataclass(frozen=True)
class Scene:
    """A world with the tasks that are played in it; without a source there is nothing to be solved."""

    name: str
    world: WorldPlan
    source: Source | None = None

    def task(self, number: int) -> Task:
        """Held-out task `number`: one of each cell in turn, the easiest levels first."""
        if self.source is None:
            unjudged = Reference("evolvent.rewards.verify:exact")
            return Task(f"visit-{number}", "visit", 1, (said("user", ""),), None, unjudged, Origin("visit"))
        cells = [
            (family, level, split, num)
            for family in self.source.families
            for level in self.source.levels(family)
            for split in ("test", "train")
            if (num := self.source.num_tasks(family, level, split)) != 0
        ]
        cells = sorted(cells, key=lambda cell: (cell[2] == "train", cell[1]))
        held_out = [cell for cell in cells if cell[2] == "test"] or cells
        if not held_out:
            raise BadInput("this source holds no task", where=self.name)
        family, level, split, num = held_out[number % len(held_out)]
        index = number // len(held_out)
        return self.source.task(family, level, index if num is None else index % num, split)


def find_scene(word: str, seed: int) -> Scene:
    """What a word names; BadInput says what could be named."""
    path, _, name = word.partition("#")
    if path.endswith(".json") and Path(path).is_file():
        from evolvent.envs.mcp import read_config

        return Scene(word, read_config(path, name))
    if Path(word).is_dir():
        return _of_folder(word, seed)
    kind, _, rest = word.partition(":")
    if kind in ("http", "https", "ws", "wss"):
        return _of_url(word)
    if kind == "gym" and rest:
        return _of_gym(word, rest, seed)
    if kind == "bfcl" and rest:
        from evolvent.envs.bfcl import Bfcl
        from evolvent.synthesis.bfcl_tasks import BfclTasks

        name, levels = _with_level(rest)
        return Scene(word, Bfcl(), BfclTasks((name,), levels))
    if SOURCE_CODE.fullmatch(word):
        return _of_object(word, read_value(word, "world"))
    return _of_source(word, seed)


def _of_source(word: str, seed: int) -> Scene:
    from evolvent import tasks

    try:
        return Scene(word, _toolbox(), tasks.source(word, seed))
    except BadInput as error:
        raise BadInput(error.what, where="WORLD", got=error.got, wanted=WANTED, cure=error.cure) from error


def _of_gym(word: str, rest: str, seed: int) -> Scene:
    """With tasks where there are some: of FrozenLake, Taxi and CliffWalking."""
    from evolvent.envs.gym import Gym
    from evolvent.envs.gym_words import family_of
    from evolvent.synthesis.gym_tasks import TABLES, GymTasks

    name, levels = _with_level(rest)
    if family_of(name) in TABLES:
        return Scene(word, Gym(), GymTasks((name,), seed, levels))
    return Scene(word, Gym(name))


def _of_folder(word: str, seed: int) -> Scene:
    """A world, a corpus of worlds that holds just one, or a folder with tasks and their worlds."""
    from evolvent.envs.databases.corpus import WORLD, WORLDS, read_world, worlds_in
    from evolvent.synthesis.trust import find_subject

    folder = Path(word)
    if (folder / WORLD).is_file():
        return Scene(word, read_world(folder))
    try:
        found = find_subject(word, seed)
    except BadInput:
        if not (folder / WORLDS).is_dir():
            raise
        worlds = worlds_in(folder)
    else:
        return Scene(word, found.world or _toolbox(), found.source)
    if len(worlds) > 1:
        names = f"{len(worlds)} of them"
        raise BadInput("a corpus of several worlds", where=word, got=names, cure=f"name one, for example {worlds[0]}")
    return Scene(word, read_world(worlds[0]))


def _of_url(word: str) -> Scene:
    if word.startswith("ws"):
        from evolvent.envs.openenv import OpenEnv

        return Scene(word, OpenEnv(word))
    from evolvent.envs.mcp import McpTools

    return Scene(word, McpTools(url=word))


def _of_object(word: str, found: Any) -> Scene:
    found = found() if isinstance(found, type) else found
    if isinstance(found, Source):
        from evolvent.synthesis.trust import find_subject

        return Scene(word, find_subject(found).world or _toolbox(), found)
    if not hasattr(found, "open"):
        raise BadInput("this is no world", where=word, got=type(found).__name__, wanted=WANTED)
    return Scene(word, found)


def _toolbox() -> WorldPlan:
    """The world in which the circle, and any plan that names no other, plays a source."""
    [world] = [field.default for field in fields(Improve) if field.name == "world"]
    return world  # type: ignore[return-value]


def _with_level(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, level = text.partition(":")
    if level and not level.isdecimal():
        raise BadInput("a level is a whole number", where=text, got=level, wanted=f"{name}:1")
    return name, (int(level),) if level else ()
