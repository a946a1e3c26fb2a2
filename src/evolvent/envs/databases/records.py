"""A database world as frozen data: tables with their rows, and tools that read and write them."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from evolvent.errors import BadInput
from evolvent.records import Task, Tool

if TYPE_CHECKING:
    from evolvent.envs.databases.live import OpenDatabase

Value = str | int | float | None
Kind = Literal["text", "integer", "real"]
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_JSON = {"text": "string", "integer": "integer", "real": "number"}


@dataclass(frozen=True)
class Column:
    """A column: its kind, and the table whose key it refers to, if any; the first column of a table is its key."""

    name: str
    kind: Kind = "text"
    references: str = ""


@dataclass(frozen=True)
class Table:
    """A table with its rows as they are when an episode begins."""

    name: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...] = ()

    @property
    def key(self) -> str:
        """The column that names a row."""
        return self.columns[0].name


@dataclass(frozen=True)
class Parameter:
    """An argument of a tool."""

    name: str
    kind: Kind = "text"
    description: str = ""


@dataclass(frozen=True)
class Statement:
    """One statement of SQL with the tool's arguments as :name; `refuses` is said where it finds or changes no row."""

    sql: str
    refuses: str = ""


@dataclass(frozen=True)
class Operation:
    """What a tool does, as data: which columns of which table it needs, gives back and sets, in their plain words."""

    kind: Literal["get", "find", "count", "create", "update", "delete"]
    table: str
    given: tuple[str, ...] = ()
    returns: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()

    @property
    def writes(self) -> bool:
        """Whether it changes the database."""
        return self.kind in ("create", "update", "delete")


@dataclass(frozen=True)
class SqlTool:
    """A tool of statements that run in order, all or none; what the last one finds is the answer.

    `gives` is one row, a list of rows, or one value. The `operation` says what it does where a generator knows.
    """

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    statements: tuple[Statement, ...]
    gives: Literal["row", "rows", "value"] = "row"
    operation: Operation | None = None


@dataclass(frozen=True)
class PythonTool:
    """A tool in Python, for the sandbox alone: the source of `def NAME(db, ...)`, where db is a sqlite3 connection."""

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    source: str


AnyTool = SqlTool | PythonTool


@dataclass(frozen=True)
class Database:
    """A world of tables and tools; every episode has a private copy, which tools alone can reach.

    `rules` are told to the agent; `labels` place the world in a taxonomy, the widest class first; `words` give the
    plain word for a table or a TABLE.COLUMN where a generator knows it. The caps are those of a `Toolbox`.
    """

    name: str
    tables: tuple[Table, ...]
    tools: tuple[AnyTool, ...]
    rules: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    origin: str = ""
    max_calls: int = 32
    max_bytes: int = 2048
    timeout_s: float = 5.0
    words: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        _check_names("table", [t.name for t in self.tables], self.name)
        _check_names("tool", [t.name for t in self.tools], self.name)
        for table in self.tables:
            _check_names(f"column of {table.name}", [c.name for c in table.columns], self.name)
        if len({type(tool) for tool in self.tools}) > 1:
            raise BadInput(
                "a world's tools are of one kind",
                where=self.name,
                got="SQL and Python side by side",
                wanted="all SqlTool, or all PythonTool",
            )

    def open(self, task: Task, seed: int) -> OpenDatabase:
        """A private copy for one episode."""
        from evolvent.envs.databases.live import OpenDatabase, open_python

        needs_sandbox = bool(self.tools) and isinstance(self.tools[0], PythonTool)
        return open_python(self) if needs_sandbox else OpenDatabase(self)

    def table(self, name: str) -> Table:
        """A table by name."""
        return next(table for table in self.tables if table.name == name)

    def word(self, table: str, column: str = "") -> str:
        """The plain word for a table or one of its columns, else its own name."""
        name = f"{table}.{column}" if column else table
        return dict(self.words).get(name, column or table)

    def tool(self, name: str) -> AnyTool:
        """A tool by name."""
        return next(tool for tool in self.tools if tool.name == name)

    @cached_property
    def shown_tools(self) -> tuple[Tool, ...]:
        """The tools as a model sees them."""
        return tuple(as_shown(tool) for tool in self.tools)

    @cached_property
    def image(self) -> bytes:
        """The database as SQLite writes it."""
        connection = sqlite3.connect(":memory:")
        try:
            for table in self.tables:
                connection.execute(create_sql(table))
                marks = ", ".join("?" * len(table.columns))
                connection.executemany(f"INSERT INTO {quoted(table.name)} VALUES ({marks})", table.rows)
            connection.commit()
            return connection.serialize()
        except sqlite3.Error as error:
            raise BadInput("the tables cannot be built", where=self.name, got=error) from error
        finally:
            connection.close()


def as_shown(tool: AnyTool) -> Tool:
    """A tool as a model sees it; every parameter is required."""
    properties = {
        p.name: {"type": _JSON[p.kind]} | ({"description": p.description} if p.description else {})
        for p in tool.parameters
    }
    schema = {"type": "object", "properties": properties, "required": [p.name for p in tool.parameters]}
    return Tool(tool.name, tool.description, schema)


def create_sql(table: Table) -> str:
    """The statement that makes a table."""
    return f"CREATE TABLE {quoted(table.name)} ({', '.join(_column_sql(table))})"


def quoted(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def _column_sql(table: Table) -> Iterator[str]:
    for i, column in enumerate(table.columns):
        key = " PRIMARY KEY" if i == 0 else ""
        refers = f" REFERENCES {quoted(column.references)}" if column.references else ""
        yield f"{quoted(column.name)} {column.kind.upper()}{key}{refers}"


def _check_names(what: str, names: Sequence[str], where: str) -> None:
    odd = [name for name in names if not NAME.fullmatch(name)]
    if odd:
        raise BadInput(f"no name for a {what}", where=where, got=odd[0], wanted="letters, digits and _")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInput(f"two are called alike: {what}", where=where, got=twice[0])
