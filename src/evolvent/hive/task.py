"""A task of the hive: what agents read and may change, and sealed apart from that, what their work is scored with."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from evolvent.errors import BadInput
from evolvent.hive.paths import check_mutable, complain, lies_in

CONFIG, PROGRAM, SCORER = "task.toml", "public/program.md", "sealed/score.py"
PARTS = ("public", "sealed", "holdout")
INPUTS = "inputs"  # where the artifact finds the questions
FORETOLD = f"{INPUTS}/predictions"  # and where a replay finds what the first run wrote
MAX_SEEDS, MAX_TURNS, MAX_BYTES = 64, 20, 2**30
_METRIC = re.compile(r"[a-z][a-z0-9_]{0,39}")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9]|-(?!-)){0,18}[a-z0-9]")


class Direction(StrEnum):
    """Whether more of the metric is better, or less."""

    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"

    @property
    def sign(self) -> int:
        """By what a number is multiplied so that more is better."""
        return 1 if self is Direction.MAXIMIZE else -1


@dataclass(frozen=True, slots=True)
class Budget:
    """What a task grants: measurements to each agent, and to each of them time and room.

    `seconds` and `memory_mb` are of one run of the artifact on one seed, `scoring_seconds` and `scoring_memory_mb` of
    the scorer's answer to it.
    """

    evaluations: int
    seconds: float
    scoring_seconds: float = 30.0
    memory_mb: int = 512
    artifact_bytes: int = 2**20
    prediction_bytes: int = 2**20
    num_files: int = 256
    scoring_memory_mb: int = 2048

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            kind = (int, float) if "seconds" in name else int
            if isinstance(value, bool) or not isinstance(value, kind) or not 0 < value <= MAX_BYTES:
                wanted = "a number > 0" if "seconds" in name else "a whole number > 0"
                raise BadInput("a budget must be positive and finite", where=f"budget.{name}", got=value, wanted=wanted)


@dataclass(frozen=True)
class HiveTask:
    """One task with all its files by path: `public/` is what agents clone, `sealed/` and `holdout/` nobody sees.

    `sealed/score.py` has two functions. `pose(seed, data)` gives the files that the artifact reads below `inputs/`;
    `score(seed, data, predictions)` gives a number, or one number for each case. `data` is the folder `sealed`, and
    for the hold-out the folder `holdout` where there is one. It says what is wrong with predictions by an error from
    `from scoring import Invalid, read_json`. `range` is what the metric can be, where that is known.

    `replay` is a second command, for artifacts that must not see what they claim to have foretold: it runs in a fresh
    sandbox, with the predictions as `inputs/predictions` in the place of the questions, and writes `replayed`, which
    the scorer gets as a fourth argument. `absent` names public files that are not there when an artifact is measured,
    such as a training text whose use the size of the artifact is to limit. `exact` says that the same artifact gets the
    same number on the same seed. Where `timed` is not 0 it does not: artifact and baseline are run by turns, so often
    each, and the scorer gets `{"own": [...], "baseline": [...]}`, seconds that the sandbox measured, as last argument.
    """

    name: str
    metric: str
    direction: Direction
    mutable: tuple[str, ...]
    command: tuple[str, ...]
    budget: Budget
    seeds: tuple[int, ...]
    holdout_seeds: tuple[int, ...]
    predictions: str = "predictions.json"
    replay: tuple[str, ...] = ()
    replayed: str = "replayed"
    absent: tuple[str, ...] = ()
    exact: bool = True
    timed: int = 0
    range: tuple[float, float] | None = None
    description: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    where: str = CONFIG

    def __post_init__(self) -> None:
        _check_words(self)
        _check_texts(self)
        check_mutable(self.mutable, f"{self.where}: mutable")
        _check_predictions(self)
        _check_seeds(self)
        _check_range(self)
        _check_files(self)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of every file, the sealed ones included: what a run was scored with can be named and found again."""
        return digest_files(self.files)

    def below(self, part: str) -> dict[str, bytes]:
        """The files of one part, by their path in it."""
        return {path[len(part) + 1 :]: data for path, data in self.files.items() if path.startswith(part + "/")}

    @property
    def fixed(self) -> dict[str, bytes]:
        """What agents see and cannot change, and an artifact finds beside itself."""
        away = (*self.mutable, *self.absent)
        return {path: data for path, data in self.below("public").items() if not lies_in(path, away)}

    @property
    def baseline(self) -> dict[str, bytes]:
        """The artifact that everybody starts from."""
        return {path: data for path, data in self.below("public").items() if lies_in(path, self.mutable)}

    def tell(self) -> dict[str, Any]:
        """What an agent may know about the task; seeds, scorer and data are not in it."""
        return {
            "name": self.name,
            "description": self.description,
            "metric": self.metric,
            "direction": self.direction.value,
            "mutable": list(self.mutable),
            "command": list(self.command),
            "predictions": self.predictions,
            "replay": list(self.replay),
            "replayed": self.replayed if self.replay else None,
            "range": list(self.range) if self.range else None,
            "absent": list(self.absent),
            "num_seeds": len(self.seeds),
            "budget": {name: getattr(self.budget, name) for name in Budget.__slots__},
        }


def digest_files(files: Mapping[str, bytes]) -> str:
    """SHA-256 of files by path: no order, clock, owner or right changes it, every byte does."""
    rows = [[path, hashlib.sha256(data).hexdigest()] for path, data in sorted(files.items())]
    return hashlib.sha256(json.dumps(rows, ensure_ascii=True, separators=(",", ":")).encode()).hexdigest()


def check_metric(name: object, where: str) -> None:
    """BadInput for what is no name of a metric."""
    if not isinstance(name, str) or not _METRIC.fullmatch(name):
        wanted = "a-z first, then a-z, 0-9 and _, at most 40: agents read it from a line `metric: number`"
        raise BadInput("this is no name of a metric", where=where, got=ascii(name), wanted=wanted)


def _check_words(task: HiveTask) -> None:
    if not isinstance(task.name, str) or not _NAME.fullmatch(task.name):
        wanted = "2 to 20 of a-z, 0-9 and single hyphens between them"
        raise BadInput("this is no name of a task", where=f"{task.where}: name", got=ascii(task.name), wanted=wanted)
    if not isinstance(task.exact, bool):
        raise BadInput("exact is no truth", where=f"{task.where}: exact", got=task.exact, wanted="true | false")
    if type(task.timed) is not int or not 0 <= task.timed <= MAX_TURNS or (task.timed and (task.replay or task.exact)):
        wanted = f"0 to {MAX_TURNS} turns, and with any: exact = false, and no replay"
        raise BadInput("the task cannot be timed so", where=f"{task.where}: timed", got=task.timed, wanted=wanted)
    check_metric(task.metric, f"{task.where}: metric")
    for key, words in (("command", task.command), ("replay", task.replay or task.command)):
        if not words or not all(isinstance(word, str) and word and "\0" not in word for word in words):
            wanted = 'such as ["python3", "solve.py"]'
            raise BadInput("a command must be words", where=f"{task.where}: {key}", got=words, wanted=wanted)


def _check_texts(task: HiveTask) -> None:
    if not isinstance(task.description, str):
        raise BadInput("a description is words", where=f"{task.where}: description", got=task.description)
    for path in task.absent:
        if not isinstance(path, str):
            wanted = 'such as ["train.txt"]'
            raise BadInput("what is absent has no path", where=f"{task.where}: absent", got=path, wanted=wanted)


def _check_predictions(task: HiveTask) -> None:
    for key in ("predictions", "replayed"):
        path = getattr(task, key)
        trouble = complain(path) if isinstance(path, str) and path else "is no path"
        if not trouble and lies_in(path, [INPUTS, *task.mutable, *task.fixed]):
            trouble = "lies among the inputs, or is a file that the task or the agent brings along"
        if trouble:
            raise BadInput(
                f"the file of {key} {trouble}",
                where=f"{task.where}: {key}",
                got=ascii(path),
                wanted="a path of its own, such as predictions.json",
            )


def _check_seeds(task: HiveTask) -> None:
    for key in ("seeds", "holdout_seeds"):
        seeds = getattr(task, key)
        good = all(isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**63 for seed in seeds)
        if not good or len(set(seeds)) != len(seeds) or not 1 <= len(seeds) <= MAX_SEEDS:
            wanted = f"1 to {MAX_SEEDS} different whole numbers"
            raise BadInput("a task needs seeds", where=f"{task.where}: {key}", got=list(seeds)[:8], wanted=wanted)
    both = set(task.seeds) & set(task.holdout_seeds)
    if both and not task.below("holdout"):
        raise BadInput(
            "the hold-out would ask what the leaderboard has asked",
            where=f"{task.where}: holdout_seeds",
            got=sorted(both)[:8],
            wanted="other seeds, or other data below holdout/",
        )


def _check_range(task: HiveTask) -> None:
    if task.range is None:
        return
    good = len(task.range) == 2 and all(
        isinstance(end, int | float) and not isinstance(end, bool) and math.isfinite(end) for end in task.range
    )
    if not good or task.range[0] >= task.range[1]:
        raise BadInput(
            "the range of the metric has no two ends",
            where=f"{task.where}: range",
            got=list(task.range),
            wanted="[lowest, highest], such as [0.0, 1.0]",
        )


def _check_files(task: HiveTask) -> None:
    for path, why in (
        (CONFIG, "the declaration"),
        (PROGRAM, "what agents read"),
        (SCORER, "the scorer"),
    ):
        if path not in task.files:
            raise BadInput(f"{why} of the task is missing", where=f"{task.where}: {path}", cure=f"write {path}")
    for path in task.absent:
        if not any(lies_in(found, [path]) for found in task.below("public")):
            raise BadInput("nothing public is absent under this name", where=f"{task.where}: absent", got=path)
    if not task.baseline:
        raise BadInput(
            "the task has no baseline: nothing lies at its mutable paths",
            where=f"{task.where}: mutable",
            got=", ".join(task.mutable),
            wanted="at least one file below public/ at one of them",
        )
