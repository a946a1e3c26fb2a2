"""What tasks of each structure class ask in a parametric world, and the program of tool calls that solves them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from evolvent.envs.databases import Column, Database, OpenDatabase, SqlTool, Table, Value
from evolvent.records import Message, Text, ToolCall, said

MAX_CHILDREN = 3  # that an aggregate loops over


@dataclass(frozen=True)
class Exercise:
    """A question, its answer, the state in which it leaves the world, and the calls that get there."""

    question: str
    answer: str
    state: str
    solution: tuple[Message, ...]
    observations: tuple[str, ...]


def pose(database: Database, structure: str, rng: random.Random) -> Exercise:
    """A task of a structure about rows drawn from the world; the answer is what the program finds by its calls."""
    desk = Desk(database, rng)
    try:
        question, answer = PROGRAMS[structure](desk)
        solution = (*desk.messages, said("assistant", answer))
        return Exercise(question, answer, desk.world.state_digest(), solution, tuple(desk.observations))
    finally:
        desk.world.close()


class Desk:
    """Where a program is worked out: a copy of the world, dice, and a record of every call."""

    def __init__(self, database: Database, rng: random.Random) -> None:
        self.database, self.rng = database, rng
        self.world = OpenDatabase(database)
        self.messages: list[Message] = []
        self.observations: list[str] = []
        self.many, self.one = database.tables[:2]

    def call(self, kind: str, table: Table, **arguments: Value) -> Any:
        """What the tool of a kind for a table gives back; each call is thought of in the words that describe it."""
        tool = self.tool(kind, table)
        found = self.world.run(tool.name, arguments)
        ordered = {p.name: arguments[p.name] for p in tool.parameters}
        self.messages.append(Message("assistant", (Text(tool.description), ToolCall(tool.name, ordered))))
        self.observations.append(json.dumps(found, ensure_ascii=False))
        return found

    def get(self, table: Table, key: Value) -> Any:
        """The row of a key."""
        return self.call("get", table, **{table.key: key})

    def tool(self, kind: str, table: Table) -> SqlTool:
        """The tool of a kind for a table."""
        return next(
            tool
            for tool in self.database.tools
            if isinstance(tool, SqlTool)
            and tool.operation is not None
            and (tool.operation.kind, tool.operation.table) == (kind, table.name)
        )

    def key(self, table: Table) -> Value:
        """The key of a row drawn from a table."""
        return self.rng.choice(table.rows)[0]

    def column(self, table: Table, kind: str) -> Column:
        """A column of a kind drawn from those that are neither key nor link."""
        return self.rng.choice([c for c in table.columns[1:] if c.kind == kind and not c.references])

    def any_column(self, table: Table) -> Column:
        """A column that is neither key nor link."""
        return self.rng.choice([c for c in table.columns[1:] if not c.references])

    def link(self) -> str:
        """The column by which the many belong to the one."""
        return next(c.name for c in self.many.columns if c.references == self.one.name)

    def word(self, table: Table, column: str = "") -> str:
        """The plain word for a table or a column."""
        return self.database.word(table.name, column)

    def value(self, table: Table, column: str) -> Value:
        """A value that stands somewhere in a column."""
        at = [c.name for c in table.columns].index(column)
        return self.rng.choice(table.rows)[at]


def lookup(desk: Desk) -> tuple[str, str]:
    """A column of a row."""
    many, key = desk.many, desk.key(desk.many)
    column = desk.any_column(many)
    found = desk.get(many, key)
    return f'tell {desk.word(many, column.name)} of {desk.word(many)} "{key}"', str(found[column.name])


def two_hop(desk: Desk) -> tuple[str, str]:
    """A column of the row that a row belongs to."""
    many, one, key = desk.many, desk.one, desk.key(desk.many)
    column = desk.any_column(one)
    found = desk.get(one, desk.get(many, key)[desk.link()])
    asked = f'tell {desk.word(one, column.name)} of {desk.word(one)} of {desk.word(many)} "{key}"'
    return asked, str(found[column.name])


def count(desk: Desk) -> tuple[str, str]:
    """How many rows belong to a row."""
    many, one, key = desk.many, desk.one, desk.key(desk.one)
    found = desk.call("find", many, **{desk.link(): key})
    return f'tell number of {desk.word(many)} of {desk.word(one)} "{key}"', str(len(found))


def aggregate(desk: Desk) -> tuple[str, str]:
    """The highest number among the rows that belong to a row, each looked up in turn."""
    many, one, at = desk.many, desk.one, [c.name for c in desk.many.columns].index(desk.link())
    parents = [row[at] for row in many.rows]
    key = desk.rng.choice(sorted({p for p in parents if parents.count(p) <= MAX_CHILDREN} or set(parents), key=str))
    number = desk.column(many, "integer")
    children = desk.call("find", many, **{desk.link(): key})
    highest = max(desk.get(many, child[many.key])[number.name] for child in children)
    asked = f'tell highest {desk.word(many, number.name)} of {desk.word(many)} of {desk.word(one)} "{key}"'
    return asked, str(highest)


def create_read(desk: Desk) -> tuple[str, str]:
    """Add a row, and read what the world put into it."""
    many, one, number = desk.many, desk.one, desk.column(desk.many, "integer")
    operation = desk.tool("create", many).operation
    given = operation.given if operation else ()
    arguments = {name: desk.key(one) if name == desk.link() else desk.value(many, name) for name in given}
    made = desk.call("create", many, **arguments)
    found = desk.get(many, made[many.key])
    wanted = " ".join(f'{desk.word(many, name)} "{value}"' for name, value in arguments.items())
    return f"add {desk.word(many)} with {wanted} and tell {desk.word(many, number.name)}", str(found[number.name])


def conditional_update(desk: Desk) -> tuple[str, str]:
    """Set a column to one value or another, as a number says."""
    many, key, number = desk.many, desk.key(desk.many), desk.column(desk.many, "integer")
    operation = desk.tool("update", many).operation
    field = operation.sets[0] if operation else ""
    bound = desk.value(many, number.name)
    above, below = (desk.value(many, field) for _ in range(2))
    chosen = above if desk.get(many, key)[number.name] > bound else below
    desk.call("update", many, **{many.key: key, field: chosen})
    asked = f'if {desk.word(many, number.name)} of {desk.word(many)} "{key}" is above {bound}'
    return f'{asked} set {desk.word(many, field)} "{above}" else "{below}"', str(chosen)


def guarded_delete(desk: Desk) -> tuple[str, str]:
    """Drop a row only if a column holds a value, which it does every other time."""
    many, column = desk.many, desk.column(desk.many, "text")
    row = desk.rng.choice(many.rows)
    key, own = row[0], row[[c.name for c in many.columns].index(column.name)]
    value = own if desk.rng.random() < 0.5 else desk.value(many, column.name)
    holds = desk.get(many, key)[column.name] == value
    if holds:
        desk.call("delete", many, **{many.key: key})
    asked = f'drop {desk.word(many)} "{key}" if {desk.word(many, column.name)} is "{value}"'
    return asked, "gone" if holds else "kept"


def two_hop_update(desk: Desk) -> tuple[str, str]:
    """Set a column of the row that a row belongs to."""
    many, one, key = desk.many, desk.one, desk.key(desk.many)
    operation = desk.tool("update", one).operation
    field = operation.sets[0] if operation else ""
    value = desk.value(one, field)
    parent = desk.get(many, key)[desk.link()]
    desk.call("update", one, **{one.key: parent, field: value})
    return f'set {desk.word(one, field)} "{value}" of {desk.word(one)} of {desk.word(many)} "{key}"', str(parent)


PROGRAMS: dict[str, Callable[[Desk], tuple[str, str]]] = {
    program.__name__: program
    for program in (
        lookup,
        two_hop,
        count,
        aggregate,
        create_read,
        conditional_update,
        guarded_delete,
        two_hop_update,
    )
}
