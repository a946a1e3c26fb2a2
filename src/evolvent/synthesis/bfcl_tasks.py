"""Turns the multi-turn tasks of bfcl-eval into tasks judged by the final state and by what was found on the way.

To be played in the world `Bfcl()` by the workflow `Conversation()`. As on the leaderboard, every public attribute must
be as the reference calls leave it, and every result of theirs must have been seen; unlike there both are looked at
once, at the end, and not after each wish. Tasks in which functions appear midway are left out: a prompt lists its
tools once.
"""

from __future__ import annotations

import ast
import functools
import inspect
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evolvent.envs.bfcl import KEY, Bfcl, OpenBfcl, folder, short_digest
from evolvent.errors import BadInput, ToolError, VerifierError, nearest
from evolvent.records import Message, Origin, Private, Reference, Score, Task, ToolCall, said
from evolvent.rollouts.conversation import FOLLOW_UPS
from evolvent.tasks.procedural import split_of

PREFIX = "bfcl:"
CATEGORIES = ("base", "miss_param", "long_context")
BROKEN = ("173",)  # its reference gives close_ticket a text, where the description of that tool wants a number
JUDGE = Reference("evolvent.synthesis.bfcl_tasks:left_as_wanted")


@dataclass(frozen=True)
class BfclTasks:
    """The multi-turn tasks by category; the level is the number of wishes of the user."""

    categories: tuple[str, ...] = CATEGORIES
    only_levels: tuple[int, ...] = ()

    @property
    def families(self) -> tuple[str, ...]:
        """The categories on offer, as bfcl:NAME."""
        return tuple(PREFIX + name for name in self.categories)

    def levels(self, family: str) -> tuple[int, ...]:
        """How many wishes a conversation has, fewest first."""
        found = sorted({level for level, _ in cells(self._category(family))})
        return tuple(level for level in found if not self.only_levels or level in self.only_levels)

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """As many as the package holds: about one in eight is held out, and a scenario with all its variants."""
        return len(cells(self._category(family)).get((level, split), ()))

    def task(self, family: str, level: int, index: int, split: str = "train") -> Task:
        """Task `index` of a cell."""
        rows = cells(self._category(family)).get((level, split), ())
        if not 0 <= index < len(rows):
            raise BadInput(f"no task {index} in {family}:{level}", where=f"split {split}", got=f"{len(rows)} tasks")
        return as_task(self._category(family), rows[index], split)

    def _category(self, family: str) -> str:
        name = family.removeprefix(PREFIX)
        if family not in self.families or name not in CATEGORIES:
            raise BadInput(f"no family {family!r}", got=family, cure=nearest(name, [*CATEGORIES]))
        return name


def left_as_wanted(task: Task, answer: str, evidence: Mapping[str, Any]) -> Score:
    """1 where the world was left as the reference leaves it, and all that the reference finds was found."""
    if task.private is None or "wanted" not in task.private.data:
        raise VerifierError("the task came without its private part", where=task.task_id)
    wanted = task.private.data["wanted"]
    is_state = evidence.get("state") == wanted["state"]
    missing = Counter(wanted["results"]) - Counter(evidence.get("results", ()))
    found = 1.0 - missing.total() / max(1, len(wanted["results"]))
    why = f"the final state is {'' if is_state else 'not '}as wanted; {missing.total()} results were not found"
    return Score(float(is_state and not missing), {"state": float(is_state), "results": found}, why)


@functools.cache
def cells(category: str) -> Mapping[tuple[int, str], tuple[int, ...]]:
    """The rows of a category by level and split; variants of a scenario, and scenarios that begin alike, share it."""
    begins = {row["id"].rpartition("_")[2]: row["question"][0][0]["content"] for row in rows_of("base")}
    found: dict[tuple[int, str], list[int]] = {}
    for number, row in enumerate(rows_of(category)):
        scenario = row["id"].rpartition("_")[2]
        if scenario in BROKEN:
            continue
        split = split_of(PREFIX + "multi_turn", begins[scenario])
        found.setdefault((len(row["question"]), split), []).append(number)
    return {cell: tuple(numbers) for cell, numbers in found.items()}


@functools.cache
def rows_of(category: str) -> tuple[Mapping[str, Any], ...]:
    """The package's tasks with their reference calls."""
    name, data = f"BFCL_v4_multi_turn_{category}.json", folder() / "data"
    asked, known = (
        [json.loads(line) for line in (place / name).read_text("utf-8").splitlines()]
        for place in (data, data / "possible_answer")
    )
    calls = {row["id"]: row["ground_truth"] for row in known}
    return tuple({**row, "calls": calls[row["id"]]} for row in asked)


@functools.lru_cache(maxsize=1024)
def as_task(category: str, number: int, split: str) -> Task:
    """A row as a task: its reference is played once, to know how the world must be left."""
    row = rows_of(category)[number]
    asked = {
        "classes": row["involved_classes"],
        "config": row["initial_config"],
        "is_long": category == "long_context",
        "without": row.get("excluded_function", []),
    }
    wishes = [turn[0]["content"] for turn in row["question"]]
    world = OpenBfcl(Bfcl(), {**asked, "without": ()})
    solution, results = [], []
    for turn in row["calls"]:
        calls = tuple(read_call(world, text) for text in turn)
        results += [_result(world, call) for call in calls]
        solution += [*([Message("assistant", calls)] if calls else []), said("assistant", "done")]
    wanted = {"state": world.public_digest(), "results": results}
    return Task(
        task_id=f"bfcl-{row['id']}",
        family=PREFIX + category,
        level=len(wishes),
        prompt=(said("user", wishes[0]),),
        private=Private("done", {KEY: asked, FOLLOW_UPS: wishes[1:], "wanted": wanted}, tuple(solution)),
        judge=JUDGE,
        origin=Origin(f"bfcl-eval multi_turn_{category}"),
        split=split,
    )


def read_call(world: OpenBfcl, text: str) -> ToolCall:
    """A reference call, written as Python, as a call by name."""
    node = ast.parse(text, mode="eval").body
    assert isinstance(node, ast.Call)
    name = ast.unparse(node.func)
    given = [ast.literal_eval(part) for part in node.args]
    named = {part.arg: ast.literal_eval(part.value) for part in node.keywords if part.arg}
    return ToolCall(name, dict(inspect.signature(world.function(name)).bind(*given, **named).arguments))


def _result(world: OpenBfcl, call: ToolCall) -> str:
    assert call.arguments is not None
    try:
        return short_digest(world.execute(call.name, call.arguments))
    except ToolError:
        return short_digest(world.last_result)
