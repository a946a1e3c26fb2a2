"""A test of a tool as data: a call, what it must give back, and what queries must find afterwards."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evolvent.envs.databases import Database, OpenDatabase, Value
from evolvent.envs.tools import validate
from evolvent.errors import InfrastructureError, ToolError
from evolvent.records import Origin, Private, Reference, Task, said

TOLERANCE = 1e-6
NO_TASK = Task(
    "", "", 1, (said("user", ""),), Private(""), Reference("evolvent.rewards.verify:exact"), Origin("a test")
)


@dataclass(frozen=True)
class Query:
    """A SELECT and the rows that it must find, in any order."""

    sql: str
    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True)
class Case:
    """One call in a fresh copy; a call that `refuses` must give an error, any other must give back `returns`.

    `wants_answer` is False where any answer will do. Lists are compared without their order, numbers up to 1e-6.
    """

    tool: str
    arguments: Mapping[str, Value]
    returns: Any = None
    refuses: bool = False
    wants_answer: bool = True
    leaves: tuple[Query, ...] = ()


def fault_of(database: Database, case: Case) -> str:
    """What is wrong with a tool in one case, in words; empty where it passes."""
    return faults_of(database, [case])[0]


def faults_of(database: Database, cases: Sequence[Case]) -> list[str]:
    """The same for several cases, each on the rows as they were at first."""
    world = database.open(NO_TASK, 0)
    try:
        start, faults = world.snapshot(), []
        for case in cases:
            faults.append(_answer_fault(world, case) or _state_fault(world, case))
            world.restore(start)
        return faults
    finally:
        world.close()


def _answer_fault(world: OpenDatabase, case: Case) -> str:
    try:
        validate(next(t for t in world.plan.shown_tools if t.name == case.tool), case.arguments)
        found = world.run(case.tool, case.arguments)
    except InfrastructureError:
        raise
    except ToolError as error:
        return "" if case.refuses else f"refused: {error.what}"
    if case.refuses:
        return f"gave {_shown(found)} instead of refusing"
    if case.wants_answer and not agree(found, case.returns):
        return f"gave {_shown(found)} instead of {_shown(case.returns)}"
    return ""


def _state_fault(world: OpenDatabase, case: Case) -> str:
    for query in case.leaves:
        try:
            found = world.ask(query.sql)
        except ToolError as error:
            return f"a query cannot be asked: {error.what}"
        if not agree(found, list(query.rows)):
            return f"left {_shown(found)} instead of {_shown(query.rows)} for {query.sql}"
    return ""


def agree(found: Any, wanted: Any) -> bool:
    """Whether two values are the same but for the order of lists and the last digits of numbers; tuples keep order."""
    # the usual case by far, and twenty times as fast
    return json.dumps(found, default=repr) == json.dumps(wanted, default=repr) or _agree(found, wanted)


def _agree(found: Any, wanted: Any) -> bool:
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    if isinstance(found, int | float) and isinstance(wanted, int | float):
        return math.isclose(found, wanted, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if isinstance(found, dict) and isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(_agree(found[k], wanted[k]) for k in found)
    if isinstance(found, tuple) and isinstance(wanted, tuple):
        return len(found) == len(wanted) and all(map(_agree, found, wanted))
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(_agree, _ordered(found), _ordered(wanted)))
    return type(found) is type(wanted) and bool(found == wanted)


def _ordered(values: Sequence[Any]) -> list[Any]:
    return sorted(values, key=_place)


def _place(value: Any) -> str:
    """Where a value stands among others: the same for values that agree, up to the last digits of numbers."""
    if isinstance(value, dict):
        return "{" + ",".join(sorted(f"{key!r}:{_place(inner)}" for key, inner in value.items())) + "}"
    if isinstance(value, list):
        return "[" + ",".join(sorted(map(_place, value))) + "]"
    if isinstance(value, tuple):
        return "(" + ",".join(map(_place, value)) + ")"
    return f"{value:.6g}" if isinstance(value, int | float) and not isinstance(value, bool) else repr(value)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 120 else text[:117] + "..."
