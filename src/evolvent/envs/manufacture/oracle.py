"""Tests for the tools of parametric worlds, worked out in plain Python over the rows; no tool and no SQL is run.

What a tool should do is its `Operation` and these rules of all parametric worlds: a key that nobody has is refused, a
row that others refer to cannot go, a link must lead somewhere, a new row's key is one above the largest, and the
numbers of a new row are the smallest of their column.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from evolvent.envs.databases import Database, Operation, SqlTool, Table, Value
from evolvent.envs.databases.records import quoted
from evolvent.envs.manufacture.cases import Case, Query
from evolvent.seeds import stream

NUM_CASES = 8  # for each tool
ABSENT = "zz0"  # no key or word of a parametric world

Rows = tuple[tuple[Value, ...], ...]


class Refused(Exception):
    """A call that a right tool does not carry out."""


def write_cases(database: Database, seed: int, num: int = NUM_CASES) -> tuple[Case, ...]:
    """`num` tests for each tool that says what its operation is; the last one asks for what is not there."""
    return tuple(
        _case(database, tool, _arguments(database, tool.operation, rng, is_last=i == num - 1))
        for tool in database.tools
        if isinstance(tool, SqlTool) and tool.operation is not None
        for rng in [stream(seed, "cases", database.name, tool.name)]
        for i in range(num)
    )


def spoil(cases: tuple[Case, ...], frac: float, seed: int) -> tuple[Case, ...]:
    """The cases, a share of which wants what is wrong: tests have mistakes, too."""
    rng = stream(seed, "spoil")
    return tuple(
        replace(case, refuses=not case.refuses, wants_answer=False, leaves=()) if rng.random() < frac else case
        for case in cases
    )


def work_out(database: Database, does: Operation, arguments: dict[str, Value]) -> tuple[Any, dict[str, Rows]]:
    """What an operation gives back and how it leaves the tables; Refused where it is not carried out."""
    desk = _Desk(database, does, arguments)
    answer = getattr(desk, does.kind)()
    return answer, {t.name: t.rows for t in database.tables} | {does.table: desk.rows}


def _case(database: Database, tool: SqlTool, arguments: dict[str, Value]) -> Case:
    assert tool.operation is not None
    try:
        answer, left = work_out(database, tool.operation, arguments)
        refuses = False
    except Refused:
        answer, left, refuses = None, {t.name: t.rows for t in database.tables}, True
    leaves = tuple(Query(f"SELECT * FROM {quoted(name)}", rows) for name, rows in left.items())
    return Case(tool.name, arguments, answer, refuses, not refuses, leaves)


def _arguments(database: Database, does: Operation, rng: random.Random, *, is_last: bool) -> dict[str, Value]:
    """Values that make a difference, as a user would ask for; the last time the first argument stands nowhere."""
    table = database.table(does.table)
    names = [c.name for c in table.columns]
    free = [row for row in table.rows if not _is_referred(database, table, row)]
    row = rng.choice(free if free and does.kind == "delete" else table.rows)
    drawn: dict[str, Value] = {}
    for name in does.given:
        at = names.index(name)
        column = table.columns[at]
        if name in does.sets and column.references:
            drawn[name] = rng.choice(database.table(column.references).rows)[0]
        elif name in does.sets:
            others = [other[at] for other in table.rows if other[at] != row[at]]
            drawn[name] = rng.choice(others or [row[at]])
        else:
            drawn[name] = row[at]
    if is_last and drawn:
        drawn[next(iter(drawn))] = ABSENT
    return drawn


def _is_referred(database: Database, table: Table, row: tuple[Value, ...]) -> bool:
    return any(
        other[i] == row[0]
        for one in database.tables
        for i, column in enumerate(one.columns)
        if column.references == table.name
        for other in one.rows
    )


@dataclass
class _Desk:
    """The rows of the table that an operation is about, while it is worked out."""

    database: Database
    does: Operation
    arguments: dict[str, Value]

    def __post_init__(self) -> None:
        self.table: Table = self.database.table(self.does.table)
        self.names = [c.name for c in self.table.columns]
        self.rows: Rows = self.table.rows

    def get(self) -> dict[str, Value]:
        row = self._row()
        return {name: row[self.names.index(name)] for name in self.does.returns}

    def find(self) -> list[dict[str, Value]]:
        places = [self.names.index(name) for name in self.does.returns]
        return [{self.names[i]: row[i] for i in places} for row in self._matching()]

    def count(self) -> int:
        return len(list(self._matching()))

    def create(self) -> dict[str, Value]:
        key = self.names[0]
        letter = str(self.rows[0][0])[0]
        fresh = f"{letter}{1 + max(int(str(row[0])[1:]) for row in self.rows)}"
        made: list[Value] = [fresh]
        for i, column in enumerate(self.table.columns[1:], 1):
            if column.name in self.arguments:
                made.append(self.arguments[column.name])
            else:
                made.append(min(row[i] for row in self.rows))  # type: ignore[type-var]
            if column.references and made[-1] not in {row[0] for row in self.database.table(column.references).rows}:
                raise Refused
        self.rows = (*self.rows, tuple(made))
        return {key: fresh}

    def update(self) -> str:
        old = self._row()
        new = tuple(
            self.arguments[name] if name in self.does.sets else value
            for name, value in zip(self.names, old, strict=True)
        )
        self.rows = tuple(new if row is old else row for row in self.rows)
        return "done"

    def delete(self) -> str:
        old = self._row()
        if _is_referred(self.database, self.table, old):
            raise Refused
        self.rows = tuple(row for row in self.rows if row is not old)
        return "done"

    def _row(self) -> tuple[Value, ...]:
        key = self.arguments[self.names[0]]
        for row in self.rows:
            if row[0] == key:
                return row
        raise Refused

    def _matching(self) -> Iterator[tuple[Value, ...]]:
        for row in self.rows:
            if all(row[self.names.index(name)] == value for name, value in self.arguments.items()):
                yield row
