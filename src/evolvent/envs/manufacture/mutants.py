"""Plants mistakes in tools, to see whether a gate finds them: off by one, an argument ignored, a write not kept."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from evolvent.envs.databases import AnyTool, Database, PythonTool, SqlTool, Statement, Value
from evolvent.seeds import stream

Mistake = Literal["off by one", "argument ignored", "write not kept"]
MISTAKES: tuple[Mistake, ...] = ("off by one", "argument ignored", "write not kept")
WRITES = re.compile(r"\b(INSERT|UPDATE|DELETE|REPLACE)\b", re.IGNORECASE)
INTEGER = re.compile(r"'[^']*'|\"[^\"]*\"|:\w+|\b(\d+)\b")  # only a number outside of quotes and names has a group
SHARE = 0.3  # of all tools


@dataclass(frozen=True)
class Planted:
    """A world some of whose tools are wrong, and which, and how."""

    database: Database
    mistakes: Mapping[str, Mistake]


def plant(database: Database, seed: int, share: float = SHARE) -> Planted:
    """The world with about `share` of its tools wrong, each in one way that it can be wrong in."""
    rng = stream(seed, "mutants", database.name)
    mistakes: dict[str, Mistake] = {}
    tools: list[AnyTool] = []
    for right in database.tools:
        tool = right
        able = [(mistake, made) for mistake in MISTAKES if (made := mutate(database, tool, mistake)) is not None]
        if able and rng.random() < share:
            mistakes[tool.name], tool = rng.choice(able)
        tools.append(tool)
    return Planted(replace(database, tools=tuple(tools)), mistakes)


def mutate(database: Database, tool: AnyTool, mistake: Mistake) -> AnyTool | None:
    """The tool with one mistake; None where it cannot be made there."""
    if isinstance(tool, SqlTool):
        return {"off by one": _shift, "argument ignored": _deafen, "write not kept": _forget}[mistake](tool)
    if mistake == "off by one":
        return _shift_python(tool)
    return _deafen_python(database, tool) if mistake == "argument ignored" else _forget_python(tool)


# ------------------------------------------------------------ of SQL


def _shift(tool: SqlTool) -> SqlTool | None:
    """A number of the statement is one larger; where there is none, a list loses its first row, a value is one more."""
    *before, last = tool.statements
    place = next((found for found in INTEGER.finditer(last.sql) if found.group(1)), None)
    if place and WRITES.search(last.sql):
        sql = f"{last.sql[: place.start()]}{int(place.group()) + 1}{last.sql[place.end() :]}"
    elif WRITES.search(last.sql):
        return _shift_row(tool)
    elif tool.gives == "value":
        sql = f"WITH found(one) AS ({last.sql}) SELECT one + 1 FROM found"
    elif tool.gives == "rows":
        sql = f"SELECT * FROM ({last.sql}) LIMIT -1 OFFSET 1"
    else:
        return _shift_row(tool)
    return replace(tool, statements=(*before, replace(last, sql=sql)))


def _shift_row(tool: SqlTool) -> SqlTool | None:
    """The row after the one that was meant."""
    if tool.operation is None:
        return None
    *before, last = tool.statements
    key = next((name for name in tool.operation.given if re.search(rf'"{name}" = :{name}\b', last.sql)), None)
    if key is None:
        return None
    table = tool.operation.table
    wanted = f'"{key}" = (SELECT min("{key}") FROM "{table}" WHERE "{key}" > :{key})'
    head, where, tail = last.sql.rpartition(" WHERE ")
    if not where:
        return None
    sql = head + where + re.sub(rf'"{key}" = :{key}\b', lambda _: wanted, tail)
    return replace(tool, statements=(*before, replace(last, sql=sql)))


def _deafen(tool: SqlTool) -> SqlTool | None:
    """The first argument decides nothing: a search finds every row, a write writes NULL."""
    if not tool.parameters:
        return None
    name = tool.parameters[0].name
    made = []
    for statement in tool.statements:
        head, where, tail = statement.sql.rpartition(" WHERE ")
        tail = re.sub(rf"(=|<|>|<=|>=) :{name}\b", "IS NOT NULL", tail) if where else tail
        made.append(replace(statement, sql=re.sub(rf":{name}\b", "NULL", head + where + tail)))
    return None if tuple(made) == tool.statements else replace(tool, statements=tuple(made))


def _forget(tool: SqlTool) -> SqlTool | None:
    """All is done as it should be, and then taken back."""
    sql = tool.statements[-1].sql
    if not any(WRITES.search(statement.sql) for statement in tool.statements):
        return None
    if "RETURNING" in sql.upper() and sql.upper().startswith("INSERT INTO") and len(tool.statements) == 1:
        table, given = sql.split()[2], sql[sql.upper().rindex("RETURNING") :]
        gone = Statement(f"DELETE FROM {table} WHERE rowid = last_insert_rowid() {given}")
        return replace(tool, statements=(*tool.statements, gone))
    return replace(tool, statements=(Statement("SAVEPOINT lost"), *tool.statements, Statement("ROLLBACK TO lost")))


# ------------------------------------------------------------ of Python


def _shift_python(tool: PythonTool) -> PythonTool | None:
    """What is given back is one more, or a list without its first, or a record whose numbers are one more."""
    return _wrapped(
        tool,
        [
            "found = {real}(db, {arguments})",
            "if isinstance(found, (int, float)) and not isinstance(found, bool):",
            "    return found + 1",
            "if isinstance(found, (list, tuple)):",
            "    return list(found)[1:]",
            "if isinstance(found, dict):",
            "    return {{k: v + 1 if type(v) in (int, float) else v for k, v in found.items()}}",
            "return found",
        ],
    )


def _deafen_python(database: Database, tool: PythonTool) -> PythonTool | None:
    """The first argument is the same whatever is given."""
    if not tool.parameters:
        return None
    first = tool.parameters[0]
    return _wrapped(tool, [f"{first.name} = {_usual(database, tool, first.name)!r}", "return {real}(db, {arguments})"])


def _forget_python(tool: PythonTool) -> PythonTool | None:
    if not WRITES.search(tool.source):
        return None
    return _wrapped(
        tool,
        [
            "db.execute('SAVEPOINT lost')",
            "try:",
            "    return {real}(db, {arguments})",
            "finally:",
            "    db.execute('ROLLBACK TO lost')",
        ],
    )


def _wrapped(tool: PythonTool, lines: list[str]) -> PythonTool | None:
    """The tool's function under another name, called by a new one of the tool's name."""
    try:
        tree = ast.parse(tool.source)
    except (SyntaxError, ValueError):
        return None
    made = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == tool.name), None)
    if made is None:
        return None
    real = f"real_{tool.name}"
    made.name = real
    names = [p.name for p in tool.parameters]
    head = f"def {tool.name}({', '.join(['db', *names])}):"
    arguments = ", ".join(f"{name}={name}" for name in names)
    body = [("    " + line).format(real=real, arguments=arguments) for line in lines]
    return replace(tool, source=f"{ast.unparse(tree)}\n\n{head}\n" + "\n".join(body) + "\n")


def _usual(database: Database, tool: PythonTool, name: str) -> Value:
    """A value of a column that is called like the argument, of a table that the tool speaks of; else any key."""
    tables = sorted((t for t in database.tables if t.rows), key=lambda table: table.name not in tool.source)
    for table in tables:
        for i, column in enumerate(table.columns):
            if column.name == name:
                return table.rows[0][i]
    return tables[0].rows[0][0] if tables else None
