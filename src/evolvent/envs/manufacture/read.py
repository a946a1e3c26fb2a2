"""Turns what a model wrote as JSON into tables, rows, tools and tests, or says which part is wrong and how."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from evolvent.envs.databases import Column, Database, Parameter, PythonTool, Table, Value
from evolvent.envs.databases.records import NAME, Kind
from evolvent.envs.manufacture.cases import Case, Query
from evolvent.errors import BadInput

MAX_ROWS, MAX_TABLES, MAX_CASES, MAX_TEXT = 500, 8, 16, 300
_TYPES: dict[str, tuple[type, ...]] = {"text": (str,), "integer": (int,), "real": (int, float)}


def read_database(data: Any, name: str, theme: str) -> Database:
    """A world without tools."""
    fields = _object(data, "the reply")
    tables = tuple(read_table(one) for one in _list(fields.get("tables"), "tables"))
    if not 2 <= len(tables) <= MAX_TABLES:
        raise BadInput("wrong number of tables", got=len(tables), wanted=f"2 to {MAX_TABLES}")
    rules = tuple(str(rule)[:MAX_TEXT] for rule in _list(fields.get("rules", []), "rules"))
    return checked(Database(name, tables, (), rules, (theme,), "written by a model"))


def enriched(database: Database, data: Any) -> Database:
    """The world with new rows and tables; rows that are there already are left out."""
    fields = _object(data, "the reply")
    new = _object(fields.get("rows", {}), "rows")
    unknown = [name for name in new if name not in {table.name for table in database.tables}]
    if unknown:
        raise BadInput("rows for a table that does not exist", got=unknown[0])
    tables = tuple(_grown(table, new.get(table.name, [])) for table in database.tables)
    more = tuple(read_table(one) for one in _list(fields.get("tables", []), "tables"))
    if len(tables) + len(more) > MAX_TABLES:
        raise BadInput("too many tables", got=len(tables) + len(more), wanted=f"at most {MAX_TABLES}")
    return checked(replace(database, tables=tables + more))


def checked(database: Database) -> Database:
    """The world, once SQLite has built it and every reference leads somewhere."""
    names = {table.name for table in database.tables}
    for table in database.tables:
        odd = next((c for c in table.columns if c.references and c.references not in names), None)
        if odd:
            raise BadInput("a column refers to no table", where=f"{table.name}.{odd.name}", got=odd.references)
    connection = sqlite3.connect(":memory:")
    try:
        connection.deserialize(database.image)
        broken = connection.execute("PRAGMA foreign_key_check").fetchone()
    finally:
        connection.close()
    if broken:
        table, number, parent, _ = broken
        row = None if number is None else database.table(table).rows[number - 1]
        raise BadInput("a row refers to a key that is not there", where=f"{table} -> {parent}", got=row)
    return database


def read_table(data: Any) -> Table:
    """A table with its rows."""
    fields = _object(data, "a table")
    name = _name(fields.get("name"), "a table")
    columns = []
    for one in _list(fields.get("columns"), f"columns of {name}"):
        column = _object(one, f"a column of {name}")
        references = column.get("references") or ""
        columns.append(Column(_name(column.get("name"), f"a column of {name}"), _kind(column, name), str(references)))
    if not columns:
        raise BadInput("a table without columns", where=name)
    return _grown(Table(name, tuple(columns)), fields.get("rows", []))


def read_tools(data: Any, max_tools: int) -> tuple[PythonTool, ...]:
    """What tools promise; their source is still empty."""
    tools: list[PythonTool] = []
    for one in _list(_object(data, "the reply").get("tools"), "tools"):
        fields = _object(one, "a tool")
        name = _name(fields.get("name"), "a tool")
        parameters = tuple(
            Parameter(_name(p.get("name"), f"a parameter of {name}"), _kind(p, name), str(p.get("description") or ""))
            for p in (_object(p, f"a parameter of {name}") for p in _list(fields.get("parameters", []), "parameters"))
        )
        if len({p.name for p in parameters} | {"db"}) != len(parameters) + 1:
            raise BadInput("two parameters are called alike, or one is called db", where=name)
        description = str(fields.get("description") or "").strip()
        if not description:
            raise BadInput("a tool without a description", where=name)
        if name not in {tool.name for tool in tools}:
            tools.append(PythonTool(name, description[: 2 * MAX_TEXT], parameters, ""))
    if not tools:
        raise BadInput("no tools", wanted='{"tools": [...]} with at least one')
    return tuple(tools[:max_tools])


def read_cases(data: Any, tool: PythonTool) -> tuple[Case, ...]:
    """Tests of a tool; what a test expects is never checked here."""
    found = data if isinstance(data, list) else _object(data, "the reply").get("tests")
    cases = []
    for number, one in enumerate(_list(found, "tests"), 1):
        fields = _object(one, f"test {number}")
        arguments = _object(fields.get("arguments", {}), f"arguments of test {number}")
        refuses = bool(fields.get("refuses", False))
        leaves = tuple(_query(q, number) for q in _list(fields.get("leaves", []), f"leaves of test {number}"))
        if not refuses and "returns" not in fields and not leaves:
            raise BadInput("a test that wants nothing", where=f"test {number}", wanted="returns, refuses or leaves")
        wants = "returns" in fields and not refuses
        cases.append(Case(tool.name, dict(arguments), fields.get("returns"), refuses, wants, leaves))
    if not cases:
        raise BadInput("no tests", wanted='{"tests": [...]} with at least one')
    return tuple(cases[:MAX_CASES])


def _query(data: Any, number: int) -> Query:
    fields = _object(data, f"leaves of test {number}")
    rows = tuple(tuple(_list(row, "a row")) for row in _list(fields.get("rows"), f"rows of test {number}"))
    return Query(str(fields.get("sql", "")), rows)


def _grown(table: Table, rows: Any) -> Table:
    """The table with further rows; one whose key is taken is an error unless it is the same row."""
    of_key = {row[0]: row for row in table.rows}
    for one in _list(rows, f"rows of {table.name}"):
        row = _row(table, one)
        if of_key.setdefault(row[0], row) != row:
            raise BadInput("two rows have the same key", where=table.name, got=row[0])
    if len(of_key) > MAX_ROWS:
        raise BadInput("too many rows", where=table.name, got=len(of_key), wanted=f"at most {MAX_ROWS}")
    return replace(table, rows=tuple(of_key.values()))


def _row(table: Table, data: Any) -> tuple[Value, ...]:
    values = _list(data, f"a row of {table.name}")
    if len(values) != len(table.columns):
        raise BadInput(
            "a row does not fit its table", where=table.name, got=values, wanted=f"{len(table.columns)} values"
        )
    for column, value in zip(table.columns, values, strict=True):
        is_right = value is None or (isinstance(value, _TYPES[column.kind]) and not isinstance(value, bool))
        if not is_right or (value is None and column is table.columns[0]):
            raise BadInput("a value does not fit", where=f"{table.name}.{column.name}", got=value, wanted=column.kind)
        if isinstance(value, int) and abs(value) >= 1 << 63:
            raise BadInput("a number is too large", where=f"{table.name}.{column.name}", got=value)
    return tuple(values)


def _kind(data: Mapping[str, Any], where: str) -> Kind:
    kind = data.get("kind", "text")
    if kind not in get_args(Kind):
        raise BadInput("no such kind", where=f"{where}.{data.get('name')}", got=kind, wanted="text, integer or real")
    return kind  # type: ignore[no-any-return]


def _name(value: Any, what: str) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise BadInput(f"no name for {what}", got=value, wanted="letters, digits and _")
    return value


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadInput(f"{what} is no object", got=type(value).__name__, wanted="{...}")
    return value


def _list(value: Any, what: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise BadInput(f"{what} is no list", got=type(value).__name__, wanted="[...]")
    return value
