"""Turns the families of the reasoning-gym package (extra `[reasoning]`) into tasks, with its own judges.

Importing the package takes seconds, so it is imported when the first task or level is asked for.
An entry depends on its seed alone, but for six families that draw otherwise in other processes: `codeio`,
`isomorphic_strings`, `ransom_note`, `word_ladder`, `knight_swap` and `list_functions`.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evolvent.errors import BadInput, MissingExtra, VerifierError, nearest
from evolvent.records import Origin, Private, Reference, Score, Task, said
from evolvent.seeds import derive
from evolvent.tasks.harmless import is_harmless
from evolvent.tasks.procedural import split_of

__all__ = ["ReasoningGym", "available", "score"]

PREFIX = "reasoning_gym:"
JUDGE = Reference("evolvent.tasks.reasoning:score")
MAX_REDRAWS = 200
"""7 of 8 draws fail the test split, so 200 in a row mean that the cell has no such problem."""


@dataclass(frozen=True)
class ReasoningGym:
    """Families of reasoning-gym by name (`leg_counting`, ...) under one seed, through their curricula where they exist.

    A family is called `reasoning_gym:NAME` in tasks and reports, for some names are ours too.
    """

    names: tuple[str, ...]
    seed: int = 0
    only_levels: tuple[int, ...] = ()

    @property
    def families(self) -> tuple[str, ...]:
        """The names of the families on offer."""
        return tuple(PREFIX + name for name in self.names)

    def levels(self, family: str) -> tuple[int, ...]:
        """1 for the base configuration, one more for each step of the family's curriculum that gives a new one."""
        offered = range(1, len(configurations(self.name_of(family))) + 1)
        kept = tuple(level for level in offered if not self.only_levels or level in self.only_levels)
        if not kept:
            raise BadInput(
                f"{family} has none of the levels asked for",
                where="ReasoningGym.only_levels",
                got=", ".join(map(str, self.only_levels)),
                wanted=f"1 to {len(offered)}",
                cure=f"name a level that exists, for example {family}:1",
            )
        return kept

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """None: a generator never runs dry (a small cell repeats itself)."""
        return None

    def task(self, family: str, level: int, index: int, split: str = "train") -> Task:
        """Task `index` of a cell: it depends on (seed, family, level, split, index) and on nothing else."""
        name = self.name_of(family)
        if level not in self.levels(family):
            offered = ", ".join(map(str, self.levels(family)))
            raise BadInput(f"{family} has no level {level}", got=level, wanted=offered, cure="ask for a level on offer")
        entry = draw_entry(name, level, split, derive(self.seed, family, level, split, index) % 2**31)
        answer = str(entry["answer"]).strip()
        return Task(
            task_id=f"reasoning_gym-{name}-{level}-{split}-{self.seed}-{index}",
            family=family,
            level=level,
            prompt=(said("user", entry["question"]),),
            private=Private(
                answer=answer,
                # as one text: the records' own JSON does not tell lists from tuples, and the judges do
                data={"name": name, "level": level, "entry": write_entry(entry)},
                solution=(said("assistant", answer),),
            ),
            judge=JUDGE,
            origin=Origin(how=family),
            split=split,
        )

    def name_of(self, family: str) -> str:
        """The name inside reasoning-gym of a family on offer."""
        if family not in self.families:
            raise BadInput(
                f"no family {family!r} in this source", got=family, cure=nearest(family, list(self.families))
            )
        return family.removeprefix(PREFIX)


def score(task: Task, answer: str) -> Score:
    """The value that reasoning-gym's own judge gives to an answer (in 0..1; some judges give part of it for effort)."""
    assert task.private is not None
    data = task.private.data
    judge = judge_of(data["name"], data["level"])
    if judge.evaluates_answer and answer != task.private.answer and not is_harmless(answer):
        return Score(0.0, {"reasoning_gym": 0.0}, why="not judged: the answer holds more than literals and formulas")
    entry = read_entry(data["entry"])
    try:
        value = float(judge.dataset.score_answer(answer, entry))
    except Exception as error:
        if answer != task.private.answer and score(task, task.private.answer).value > 0:
            # the judge works and leaves it to its caller that nonsense does not parse: the fault is the answer's
            return Score(0.0, {"reasoning_gym": 0.0}, why=f"cannot be read: {type(error).__name__}")
        raise VerifierError(
            "reasoning-gym's judge broke on its own answer",
            where=task.task_id,
            got=f"{type(error).__name__}: {error}",
        ) from error
    return Score(value, {"reasoning_gym": value}, why=f"reasoning-gym {data['name']} says {value:g}")


def available(num_tasks: int = 2) -> tuple[str, ...]:
    """The families that give their own oracle answer the score 1, found by trying all of them (takes a minute)."""
    return tuple(name for name in all_names() if scores_own_answer(name, num_tasks))


def scores_own_answer(name: str, num_tasks: int = 2) -> bool:
    """Whether a family's first tasks of level 1 have an answer that its own judge accepts."""
    source = ReasoningGym((name,))
    try:
        tasks = [source.task(PREFIX + name, 1, index) for index in range(num_tasks)]
        return all(score(task, task.private.answer).value == 1.0 for task in tasks if task.private)
    except (BadInput, VerifierError):
        return False


def draw_entry(name: str, level: int, split: str, seed: int) -> Mapping[str, Any]:
    """The first entry under `seed` that belongs to `split`."""
    if split not in ("train", "test"):
        raise BadInput(f"no split {split!r}", got=split, wanted="train or test", cure=nearest(split, ["train", "test"]))
    try:
        dataset = build(name, level, seed, MAX_REDRAWS) if name in REMEMBERS else kept(name, level)
        dataset.seed = seed  # an entry is drawn from seed + place alone
        for place in range(MAX_REDRAWS):
            entry: Mapping[str, Any] = dataset[place]
            if split_of(PREFIX + name, entry["question"]) == split:
                break
        else:
            raise BadInput(f"{name} level {level} has no task in {split}", got=f"none in {MAX_REDRAWS} draws")
    except (AssertionError, ValueError, IndexError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"reasoning-gym cannot make {name} at level {level}", got=str(error)) from error
    if entry["answer"] is None:
        raise BadInput(
            f"{name} keeps no answer",
            where="reasoning-gym",
            got="an entry without answer",
            wanted="a family whose own answer its judge accepts",
            cure="choose one of evolvent.tasks.reasoning.available()",
        )
    return entry


@dataclass(frozen=True)
class OwnJudge:
    """A dataset whose `score_answer` judges, and whether that evaluates the answer as code."""

    dataset: Any
    evaluates_answer: bool


@functools.lru_cache(maxsize=256)
def judge_of(name: str, level: int) -> OwnJudge:
    """The judge of a family at a level (a few read their configuration)."""
    dataset = build(name, level, 0, 1)
    source = inspect.getsource(type(dataset).score_answer)
    return OwnJudge(dataset, re.search(r"\b(eval|exec|parse_expr|sympify)\(", source) is not None)


REMEMBERS = ("list_functions",)  # what it drew before changes what it draws next, so it is made anew for each entry


@functools.lru_cache(maxsize=64)
def kept(name: str, level: int) -> Any:
    """One dataset for all entries of a cell: some read a whole book when they are made."""
    return build(name, level, 0, MAX_REDRAWS)


def build(name: str, level: int, seed: int, num_entries: int) -> Any:
    """A dataset of reasoning-gym: its entries depend on the configuration and the seed alone."""
    from reasoning_gym.factory import DATASETS

    configuration = configurations(name)[level - 1]
    return DATASETS[name][0](config=dataclasses.replace(configuration, seed=seed, size=num_entries))


@functools.cache
def configurations(name: str) -> tuple[Any, ...]:
    """The configurations of a family by level: the steps of its curriculum that are valid and new, else the default."""
    if name not in all_names():
        raise BadInput(
            f"no family {name!r} in reasoning-gym", where=PREFIX + name, got=name, cure=nearest(name, list(all_names()))
        )
    from reasoning_gym.factory import CURRICULA, DATASETS

    found: list[Any] = []
    for step in range(num_steps(name) if name in CURRICULA else 0):
        curriculum = CURRICULA[name]()
        curriculum.set_global_level(step)
        try:
            configuration = curriculum.generate_configuration({"seed": 0, "size": 1})
            getattr(configuration, "validate", lambda: None)()
        except (AssertionError, ValueError):
            # some curricula name values that their own family refuses
            continue
        if configuration not in found:
            found.append(configuration)
    return tuple(found) or (DATASETS[name][1](),)


def num_steps(name: str) -> int:
    """How many steps a curriculum takes until every attribute is at its last value."""
    from reasoning_gym.factory import CURRICULA

    return max((len(attribute.levels) for attribute in CURRICULA[name]().attributes.values()), default=0)


@functools.cache
def all_names() -> tuple[str, ...]:
    """Every family of the installed package."""
    try:
        import reasoning_gym  # noqa: F401 - fills the factory
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        raise MissingExtra(
            "reasoning-gym is not installed",
            where=PREFIX + "...",
            got=str(error),
            wanted="the package reasoning-gym",
            cure="pip install 'evolvent[reasoning]'",
        ) from error
    return tuple(sorted(DATASETS))


def write_entry(value: Any) -> str:
    """An entry as JSON text that keeps tuples, sets and keys that are not texts."""
    return json.dumps(pack(value), ensure_ascii=True)


def read_entry(text: str) -> Any:
    """The inverse of `write_entry`."""
    return unpack(json.loads(text))


def pack(value: Any) -> Any:
    """Plain JSON; what JSON lacks becomes a pair of a mark and its parts, and so do lists, to tell them apart."""
    if value is None or isinstance(value, bool):
        return value
    # through the plain type: numpy's texts and numbers are subclasses
    for plain in (str, int, float):
        if isinstance(value, plain):
            return plain(value)
    if isinstance(value, Mapping):
        return {"mapping": [[pack(key), pack(part)] for key, part in value.items()]}
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            parts = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
            return {kind.__name__: [pack(part) for part in parts]}
    if hasattr(value, "tolist"):
        return pack(value.tolist())
    raise BadInput(f"an entry holds a {type(value).__name__}, which has no JSON form", got=repr(value)[:80])


def unpack(value: Any) -> Any:
    """The inverse of `pack`."""
    if not isinstance(value, dict):
        return value
    ((kind, parts),) = value.items()
    if kind == "mapping":
        return {unpack(key): unpack(part) for key, part in parts}
    kinds: dict[str, Any] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
    return kinds[kind](unpack(part) for part in parts)
