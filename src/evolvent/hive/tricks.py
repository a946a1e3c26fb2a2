"""A deceptive landscape of tricks that are on or off, as numbers and as a task of the hive with the same numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from evolvent.hive.space import Param, Point, Space
from evolvent.hive.task import CONFIG, PROGRAM, SCORER, HiveTask
from evolvent.hive.task_folder import build_task
from evolvent.seeds import stream

NUM_TRICKS, NUM_PAIRS = 12, 2
HARM, JOY = 0.6, 3.0  # what one half of a pair costs, and what both together bring
REACHED = 1e-9  # how far below the top still counts as the top

_TOML = """name = "tricks"
description = "twelve tricks, on or off; most help, and some help only together"
metric = "worth"
direction = "maximize"
mutable = ["params.json"]
command = ["python3", "answer.py"]
predictions = "answer.json"
seeds = [1]
holdout_seeds = [2]

[budget]
evaluations = 100000
seconds = 20
"""
_PROGRAM = "Switch the tricks in params.json on and off, so that the worth is as high as can be.\n"
_ANSWER = 'open("answer.json", "w").write(open("params.json").read())\n'
_SCORE = '''"""The worth of a set of tricks: what each brings, and what pairs bring or cost."""

import json

from scoring import Invalid, read_json


def pose(seed, data):
    return {"seed.json": json.dumps(seed % 1000).encode()}


def score(seed, data, predictions):
    landscape = json.loads((data / "landscape.json").read_text())
    said = read_json(predictions)
    if type(said) is not dict or sorted(said) != sorted(landscape["plain"] | landscape["names"]):
        raise Invalid("every trick is wanted, and nothing else")
    if any(type(is_on) is not bool for is_on in said.values()):
        raise Invalid("a trick is true or false")
    worth = sum(gain for name, gain in landscape["plain"].items() if said[name])
    for one, other in landscape["pairs"]:
        both = said[one] + said[other]
        worth += landscape["joy"] if both == 2 else -landscape["harm"] * both
    return worth
'''


@dataclass(frozen=True, slots=True)
class Landscape:
    """What each plain trick brings, and the pairs of tricks of which either alone does harm."""

    plain: tuple[tuple[str, float], ...]
    pairs: tuple[tuple[str, str], ...]

    @property
    def space(self) -> Space:
        """The tricks in order of their names, which say nothing of their worth."""
        names = sorted([name for name, _ in self.plain] + [name for pair in self.pairs for name in pair])
        return Space("params.json", tuple(Param(name, "bool", values=(False, True)) for name in names))

    @property
    def top(self) -> float:
        """The worth of all tricks together."""
        return self.worth({one.name: True for one in self.space.params})

    def worth(self, point: Point) -> float:
        """What a set of tricks is worth."""
        worth = sum(gain for name, gain in self.plain if point[name])
        for one, other in self.pairs:
            both = bool(point[one]) + bool(point[other])
            worth += JOY if both == 2 else -HARM * both
        return worth

    def is_top(self, worth: float) -> bool:
        """Whether everything was found."""
        return worth >= self.top - REACHED

    def as_task(self) -> HiveTask:
        """The same as a task whose landscape is sealed."""
        landscape = {
            "plain": dict(self.plain),
            "names": {name: 0 for pair in self.pairs for name in pair},
            "pairs": [list(pair) for pair in self.pairs],
            "harm": HARM,
            "joy": JOY,
        }
        params = {one.name: {"kind": "bool"} for one in self.space.params}
        start = {one.name: False for one in self.space.params}
        files: Mapping[str, str] = {
            CONFIG: _TOML,
            PROGRAM: _PROGRAM,
            "public/answer.py": _ANSWER,
            "public/params.json": json.dumps(start, indent=1),
            "public/space.json": json.dumps({"file": "params.json", "params": params}, indent=1),
            SCORER: _SCORE,
            "sealed/landscape.json": json.dumps(landscape),
        }
        return build_task({path: text.encode() for path, text in files.items()}, "tricks")


def draw_landscape(seed: int, number: int) -> Landscape:
    """A landscape of its own for each number: which tricks are pairs, and what the others bring."""
    rng = stream(seed, "tricks", number)
    names = [f"trick_{i:02}" for i in range(NUM_TRICKS)]
    rng.shuffle(names)
    paired, plain = names[: 2 * NUM_PAIRS], names[2 * NUM_PAIRS :]
    pairs = tuple((paired[2 * i], paired[2 * i + 1]) for i in range(NUM_PAIRS))
    return Landscape(tuple((name, rng.uniform(0.5, 1.5)) for name in plain), pairs)
