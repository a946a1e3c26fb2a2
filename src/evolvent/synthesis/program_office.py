"""Where a program over the tools of a world is carried out: a private copy, dice, a record of calls and branches."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from evolvent.envs.databases import Column, Database, OpenDatabase, SqlTool, Table, Value
from evolvent.records import Message, Text, ToolCall
from evolvent.synthesis.graph_words import plural

MAX_CHILDREN = 6  # that a loop goes through


class Lacking(Exception):  # a way out of a program, never seen outside
    """The world has no such tool or rows."""


class Office:
    """A copy of a world in which a program is carried out, with its dice and a record of every call and branch."""

    def __init__(self, database: Database, rng: random.Random) -> None:
        self.database, self.rng = database, rng
        self.world = OpenDatabase(database)
        self.messages: list[Message] = []
        self.tables: set[str] = set()
        self.num_branches = 0

    @property
    def many(self) -> Table:
        """A table whose rows belong to those of another."""
        return self._relation[0]

    @property
    def one(self) -> Table:
        """The table that they belong to."""
        return self._relation[1]

    @property
    def link(self) -> str:
        """The column by which they do."""
        return self._relation[2]

    @property
    def things(self) -> str:
        """What the rows of the one table are called."""
        return plural(self.word(self.many))

    @property
    def owner(self) -> str:
        """What a row of the other is called."""
        return self.word(self.one)

    def call(self, kind: str, table: Table, **arguments: Value) -> Any:
        """What the tool of a kind for a table gives back."""
        tool = self._tool(kind, table, tuple(arguments))
        found = self.world.run(tool.name, arguments)
        ordered = {p.name: arguments[p.name] for p in tool.parameters}
        self.messages.append(Message("assistant", (Text(tool.description), ToolCall(tool.name, ordered))))
        self.tables.add(table.name)
        return found

    def branch(self, holds: bool) -> bool:
        """A choice on which the rest depends."""
        self.num_branches += 1
        return holds

    def children(self, key: Value) -> list[dict[str, Any]]:
        """Every row that belongs to a row, looked up one by one."""
        found = self.call("find", self.many, **{self.link: key})
        return [{self.many.key: c[self.many.key], **self.get(self.many, c[self.many.key])} for c in found]

    def get(self, table: Table, key: Value) -> dict[str, Any]:
        """The row of a key."""
        found = self.call("get", table, **{table.key: key})
        return dict(found)

    def parent(self) -> Value:
        """The key of a row that some, and not too many, rows belong to."""
        at = [c.name for c in self.many.columns].index(self.link)
        owners = [row[at] for row in self.many.rows]
        fit = sorted({str(o) for o in owners if 2 <= owners.count(o) <= MAX_CHILDREN})
        if not fit:
            raise Lacking("no rows that several rows belong to")
        chosen = self.rng.choice(fit)
        return next(o for o in owners if str(o) == chosen)

    def readable(self) -> Table:
        """A table with numbers, the rows of which can be looked up."""
        found = [
            t for t in self.database.tables
            if self._fit("get", t, {t.key}) and len(t.rows) > 2 and any(c.kind == "integer" for c in t.columns[1:])
        ]  # fmt: skip
        if not found:
            raise Lacking("no tool to get a row with numbers")
        return self.rng.choice(found)

    def countable(self) -> tuple[Table, str]:
        """A table and a column by which its rows can be counted."""
        found = [
            (t, tool.operation.given[0]) for t in self.database.tables for tool in self._tools("count", t)
            if tool.operation and len(tool.operation.given) == 1 and tool.operation.given[0] == tool.parameters[0].name
        ]  # fmt: skip
        if not found:
            raise Lacking("no tool to count")
        return self.rng.choice(found)

    def column(self, table: Table, kind: str) -> Column:
        """A column of a kind that is neither key nor link."""
        found = [c for c in table.columns[1:] if c.kind == kind and not c.references]
        if not found:
            raise Lacking(f"no {kind} column")
        return self.rng.choice(found)

    def settable(self, table: Table) -> str:
        """A column that some tool sets for the row of a key."""
        sets = [t.operation.sets[0] for t in self._tools("update", table) if t.operation and len(t.operation.sets) == 1]
        if not sets:
            raise Lacking("no tool that sets one column")
        return self.rng.choice(sets)

    def value(self, table: Table, column: str) -> Value:
        """A value that stands somewhere in a column."""
        at = [c.name for c in table.columns].index(column)
        return self.rng.choice(table.rows)[at]

    def word(self, table: Table, column: str = "") -> str:
        """The plain word for a table or a column."""
        return self.database.word(table.name, column)

    @cached_property
    def _relation(self) -> tuple[Table, Table, str]:
        found = [
            (table, self.database.table(column.references), column.name)
            for table in self.database.tables
            for column in table.columns
            if column.references and self._fit("find", table, {column.name}) and self._fit("get", table, {table.key})
        ]
        if not found:
            raise Lacking("no tools to find and get what belongs to something")
        return self.rng.choice(found)

    def _tools(self, kind: str, table: Table) -> Iterator[SqlTool]:
        for tool in self.database.tools:
            does = tool.operation if isinstance(tool, SqlTool) else None
            if isinstance(tool, SqlTool) and does and (does.kind, does.table) == (kind, table.name):
                yield tool

    def _tool(self, kind: str, table: Table, arguments: tuple[str, ...]) -> SqlTool:
        found = self._fit(kind, table, set(arguments))
        if not found:
            raise Lacking(f"no tool to {kind}")
        return found[0]

    def _fit(self, kind: str, table: Table, arguments: set[str]) -> list[SqlTool]:
        return [t for t in self._tools(kind, table) if {p.name for p in t.parameters} == arguments]
