"""Worlds made by hand: a library of three tables whose tools say what they do, and the same for a policy to analyse."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from evolvent.envs.databases import (
    Column,
    Database,
    OpenDatabase,
    Operation,
    Parameter,
    PythonTool,
    SqlTool,
    Statement,
    Table,
    name_world,
)
from evolvent.envs.databases.records import quoted
from evolvent.policies.scripted import _names, _spoken
from evolvent.records import Reference, ToolResult, said

HERE = "synthesis.made_worlds"
AUTHORS = tuple((f"a{i}", city, year) for i, (city, year) in enumerate(
    [("oslo", 1901), ("rome", 1920), ("lima", 1933), ("oslo", 1950), ("cairo", 1961)]
))  # fmt: skip
BOOKS = tuple((f"b{i}", f"a{i % 5}", 100 + 7 * i, ["open", "lent"][i % 3 == 0]) for i in range(12))
LOANS = tuple((f"l{i}", f"b{(5 * i) % 12}", 3 + i) for i in range(8))
TABLES = (
    Table("tbl_a", (Column("id"), Column("city"), Column("born", "integer")), AUTHORS),
    Table(
        "tbl_b", (Column("id"), Column("by", references="tbl_a"), Column("pages", "integer"), Column("state")), BOOKS
    ),
    Table("tbl_l", (Column("id"), Column("what", references="tbl_b"), Column("days", "integer")), LOANS),
)
WORDS = (
    ("tbl_a", "author"),
    ("tbl_b", "book"),
    ("tbl_l", "loan"),
    ("tbl_a.born", "year of birth"),
    ("tbl_l.days", "number of days"),
)


def library(author_city: str = "") -> Database:
    """Five authors, twelve books, eight loans; `author_city` moves the authors of all books there."""
    tools = (
        tool("qa", "get", "tbl_a", ("id",), ("city", "born")),
        tool("qb", "get", "tbl_b", ("id",), ("by", "pages", "state")),
        tool("ql", "get", "tbl_l", ("id",), ("what", "days")),
        tool("fb", "find", "tbl_b", ("by",), ("id",)),
        tool("fl", "find", "tbl_l", ("what",), ("id",)),
        tool("nb", "count", "tbl_b", ("state",)),
        tool("cl", "create", "tbl_l", ("what", "days"), ("id",), ("what", "days")),
        tool("ub", "update", "tbl_b", ("id", "state"), (), ("state",)),
        tool("dl", "delete", "tbl_l", ("id",)),
    )
    moved = tuple((key, author_city or city, born) for key, city, born in AUTHORS)
    tables = (replace(TABLES[0], rows=moved), *TABLES[1:])
    return Database("library", tables, tools, labels=("library",), words=WORDS)


def mute_library() -> Database:
    """The same with tools that say nothing of what they do, under names that a policy can read."""
    names = {"qa": "get_author", "qb": "get_book", "ql": "get_loan", "fb": "books_by", "fl": "loans_of",
             "nb": "count_books", "cl": "lend", "ub": "set_state", "dl": "give_back"}  # fmt: skip
    made = library()
    tools = tuple(replace(t, name=names[t.name], operation=None) for t in made.tools if isinstance(t, SqlTool))
    return replace(made, name="mute library", tools=tools, words=())


def tool(name: str, kind: Any, table: str, given: tuple[str, ...], returns=(), sets=()) -> SqlTool:
    columns = {c.name: c for t in TABLES if t.name == table for c in t.columns}
    where = " AND ".join(f"{quoted(c)} = :{c}" for c in given)
    sql = {
        "get": f"SELECT {', '.join(map(quoted, returns))} FROM {table} WHERE {where}",
        "find": f"SELECT id FROM {table} WHERE {where} ORDER BY 1",
        "count": f"SELECT count(*) FROM {table} WHERE {where}",
        "create": f"INSERT INTO {table} VALUES ('l9', {', '.join(':' + c for c in given)}) RETURNING id",
        "update": f"UPDATE {table} SET {', '.join(f'{c} = :{c}' for c in sets)} WHERE id = :id",
        "delete": f"DELETE FROM {table} WHERE {where}",
    }[kind]
    refuses = "" if kind in ("find", "count", "create") else "no such row"
    gives: Any = {"get": "row", "create": "row", "find": "rows"}.get(kind, "value")
    parameters = tuple(Parameter(c, columns[c].kind) for c in given)
    does = Operation(kind, table, given, returns, sets)
    return SqlTool(name, f"{kind} {table}", parameters, (Statement(sql, refuses),), gives, does)


class Clock(OpenDatabase):
    """A library that says in every row when it was asked."""

    ticks = 0

    async def call(self, seat, call):
        result = await super().call(seat, call)
        found = json.loads(result.text) if result.text.startswith("{") and not result.is_error else None
        if found is None:
            return result
        Clock.ticks += 1
        return ToolResult(result.name, json.dumps({**found, "asked_at": Clock.ticks}))


class TimedLibrary(Database):
    """A database that opens as one with a clock in it."""

    def open(self, task, seed):
        return Clock(self)


def named(function: str, **arguments: object) -> dict[str, Any]:
    return dict(name_world(Reference(f"{HERE}:{function}", arguments)))


class Scribe:
    """A policy that answers by a function of the prompt's words, and keeps what it was asked."""

    name = "scribe"

    def __init__(self, reply):
        self.reply, self.asked = reply, []

    async def sample(self, prompts, how):
        texts = [p.messages[-1].text for p in prompts]
        self.asked += [(text, how) for text in texts]
        return [_spoken(said("assistant", self.reply(t)), self.name, how, _names(p, i))
                for i, (t, p) in enumerate(zip(texts, prompts, strict=True))]  # fmt: skip


def wordless() -> Database:
    return replace(library(), name="wordless", words=())


SOURCES = {
    "get_author": """def get_author(db, author_id):
    import time
    row = db.execute('SELECT city, born FROM authors WHERE id = ?', (author_id,)).fetchone()
    return {'city': row[0], 'born': row[1], 'asked_at': time.time_ns()} if row else {'error': 'not found'}""",
    "get_book": """def get_book(db, book_id):
    row = db.execute('SELECT author_id, pages, state FROM books WHERE id = ?', (book_id,)).fetchone()
    return dict(zip(('author_id', 'pages', 'state'), row)) if row else {'error': 'not found'}""",
    "set_state": """def set_state(db, book_id, state):
    return {'ok': db.execute('UPDATE books SET state = ? WHERE id = ?', (state, book_id)).rowcount == 1}""",
}


def python_library() -> Database:
    """A library of three Python tools, one of which reads the clock."""
    names = {"get_author": ("author_id",), "get_book": ("book_id",), "set_state": ("book_id", "state")}
    tools = tuple(
        PythonTool(name, name.replace("_", " "), tuple(Parameter(p) for p in names[name]), source)
        for name, source in SOURCES.items()
    )
    key, _, *rest = TABLES[1].columns
    books = Table("books", (key, Column("author_id", "text", "authors"), *rest), BOOKS)
    return Database("python library", (replace(TABLES[0], name="authors"), books), tools)
