"""The private copy of a database in which one episode plays."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from evolvent.envs.databases.records import Database, SqlTool, Statement, Value, quoted
from evolvent.envs.toolbox import cut, explain
from evolvent.envs.tools import pick, validate
from evolvent.envs.world import WorldStep
from evolvent.errors import BadInput, InfrastructureError, ToolError
from evolvent.records import Block, Message, Text, Tool, ToolCall, ToolResult

SEAT = "agent"
MAX_STEPS = 1_000_000  # of SQLite's machine for one statement, in place of seconds, so that it is the same everywhere
STEPS_A_LOOK = 1000
MAX_ROWS = 1000
ALLOWED = {
    sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE,
    sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_RECURSIVE, sqlite3.SQLITE_SAVEPOINT,
}  # fmt: skip
UNSTABLE = {
    "random", "randomblob", "load_extension", "current_timestamp", "current_date", "current_time", "date", "time",
    "datetime", "julianday", "unixepoch", "strftime", "timediff", "fts3_tokenizer", "total_changes", "sqlite_version",
    "sqlite_source_id", "sqlite_compileoption_get", "sqlite_compileoption_used",
}  # fmt: skip

Rows = Mapping[str, tuple[tuple[Value, ...], ...]]


class OpenDatabase:
    """A database world at work; what its tools do touches this copy alone."""

    seats: tuple[str, ...] = (SEAT,)
    to_move: tuple[str, ...] = (SEAT,)

    def __init__(self, plan: Database) -> None:
        self.plan = plan
        self.num_calls = 0
        self._connection = load(plan.image)

    async def __aenter__(self) -> OpenDatabase:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the copy."""
        self._connection.close()

    def observe(self, seat: str) -> tuple[Block, ...]:
        """The rules of the world."""
        self._check(seat)
        return (Text("\n".join(self.plan.rules)),) if self.plan.rules else ()

    def tools(self, seat: str) -> tuple[Tool, ...]:
        """The tools that the agent may call."""
        self._check(seat)
        return self.plan.shown_tools

    async def step(self, actions: Mapping[str, Message]) -> Mapping[str, WorldStep]:
        """Run the calls of the agent's message, in order; a message without a call ends the world."""
        self._check(*actions)
        calls = actions[SEAT].calls
        return {SEAT: WorldStep(tuple([await self.call(SEAT, call) for call in calls]), done=not calls)}

    async def call(self, seat: str, call: ToolCall) -> ToolResult:
        """Run one tool; whatever goes wrong is an observation, and leaves the database as it was."""
        self._check(seat)
        self.num_calls += 1
        try:
            return ToolResult(call.name, cut(await self._answer(call), self.plan.max_bytes))
        except InfrastructureError:
            raise
        except Exception as error:
            return ToolResult(call.name, cut(f"error: {explain(error)}", self.plan.max_bytes), is_error=True)

    async def _answer(self, call: ToolCall) -> str:
        return self.answer(call)

    def answer(self, call: ToolCall) -> str:
        """What a call gives back, as JSON; ToolError where it is refused."""
        if self.num_calls > self.plan.max_calls:
            raise ToolError(f"no calls left: {self.plan.max_calls} is the limit", cure="answer now")
        if call.arguments is None:
            raise ToolError(f"cannot read the call {call.raw!r}", cure='write NAME {"argument": value}')
        tool = pick(self.plan.shown_tools, call.name)
        validate(tool, call.arguments)
        return json.dumps(self.run(tool.name, call.arguments), ensure_ascii=False)

    def run(self, name: str, arguments: Mapping[str, Value]) -> Any:
        """What a tool gives back, as JSON values; all of its statements take effect, or none."""
        tool = self.plan.tool(name)
        assert isinstance(tool, SqlTool)
        found: list[dict[str, Value]] = []
        try:
            for statement in tool.statements:
                found = self._execute(statement, arguments)
        except sqlite3.Error as error:
            self._connection.rollback()
            raise ToolError(str(error)) from error
        except ToolError:
            self._connection.rollback()
            raise
        self._connection.commit()
        return _given(tool, found)

    def ask(self, sql: str) -> list[tuple[Value, ...]]:
        """The rows that a query of ours finds, under the guard of the tools."""
        try:
            return [tuple(row.values()) for row in self._execute(Statement(sql), {})]
        except sqlite3.Error as error:
            raise ToolError(str(error)) from error

    def _execute(self, statement: Statement, arguments: Mapping[str, Value]) -> list[dict[str, Value]]:
        num_left = [MAX_STEPS // STEPS_A_LOOK]

        def is_over() -> bool:
            num_left[0] -= 1
            return num_left[0] < 0

        self._connection.set_progress_handler(is_over, STEPS_A_LOOK)
        cursor = self._connection.execute(statement.sql, dict(arguments))
        names = [column[0] for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchmany(MAX_ROWS)]
        if statement.refuses and not (rows if names else cursor.rowcount):
            raise ToolError(statement.refuses.format_map({k: json.dumps(v) for k, v in arguments.items()}))
        return rows

    # ------------------------------------------------------------ the state

    def rows(self) -> Rows:
        """Every table's rows, in order of their key."""
        return rows_of(self.plan, self._connection)

    def snapshot(self) -> bytes:
        """The number of calls, and the whole database."""
        return self.num_calls.to_bytes(8, "big") + self._connection.serialize()

    def restore(self, state: bytes) -> None:
        """Go back to a snapshot."""
        self.num_calls = int.from_bytes(state[:8], "big")
        self._connection.close()
        self._connection = load(state[8:])

    def state_digest(self) -> str:
        """SHA-256 of all rows; how SQLite keeps them does not matter."""
        return digest(self.rows())

    def evidence(self) -> dict[str, Any]:
        """The digest of the rows as they are, what became other than it was, and the number of calls."""
        rows = self.rows()
        before = {table.name: table.rows for table in self.plan.tables}
        return {"state": digest(rows), "changes": changes(before, rows), "num_calls": self.num_calls}

    def _check(self, *seats: str) -> None:
        if seats != (SEAT,):
            raise BadInput("a database world has one seat", got=", ".join(seats), wanted=SEAT)


def rows_of(plan: Database, connection: sqlite3.Connection) -> Rows:
    """The rows of a world's tables in a connection, in order of their key."""
    return {
        table.name: tuple(connection.execute(f"SELECT * FROM {quoted(table.name)} ORDER BY 1").fetchall())
        for table in plan.tables
    }


def open_python(plan: Database) -> OpenDatabase:
    """The world of Python tools, which run in the sandbox with the database."""
    from evolvent.envs.databases.sandboxed import SandboxedDatabase

    return SandboxedDatabase(plan)


def digest(rows: Rows) -> str:
    """SHA-256 of rows by table."""
    text = json.dumps({name: sorted(map(list, rows[name]), key=json.dumps) for name in sorted(rows)})
    return hashlib.sha256(text.encode()).hexdigest()


def changes(before: Rows, after: Rows) -> dict[str, Any]:
    """For each table that is other than it was: the rows that are gone and those that are new."""
    found = {}
    for name in after:
        gone, new = _beyond(before.get(name, ()), after[name]), _beyond(after[name], before.get(name, ()))
        if gone or new:
            found[name] = {"gone": gone, "new": new}
    return found


def _beyond(rows: tuple[tuple[Value, ...], ...], others: tuple[tuple[Value, ...], ...]) -> list[list[Value]]:
    """The rows that are not among the others; one that is there twice is taken away once for each."""
    left, found = Counter(others), []
    for row in rows:
        if left[row] > 0:
            left[row] -= 1
        else:
            found.append(list(row))
    return found


def _given(tool: SqlTool, found: list[dict[str, Value]]) -> Any:
    if tool.gives == "rows":
        return found
    if not found:
        return "done"
    return next(iter(found[0].values())) if tool.gives == "value" else found[0]


def load(image: bytes) -> sqlite3.Connection:
    """A database in memory under the guard of the tools."""
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.deserialize(image)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1 << 20)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.set_authorizer(_authorize)
    return connection


def _authorize(action: int, first: str | None, second: str | None, *_: Any) -> int:
    """Rows may be read and written; schemas, files, settings, clocks and dice may not be touched."""
    is_odd = action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in UNSTABLE
    is_schema = (first or "").startswith("sqlite_") and action not in (sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_SELECT)
    return sqlite3.SQLITE_OK if action in ALLOWED and not is_odd and not is_schema else sqlite3.SQLITE_DENY
