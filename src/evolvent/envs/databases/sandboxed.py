"""The private copy of a database whose tools are Python: they and the file that they write live in a sandbox.

The file is read back and looked at here; what a tool says of its own doing counts as its answer and as nothing else.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sqlite3
from collections.abc import Mapping
from typing import Any

from evolvent.envs.databases.live import OpenDatabase, Rows, load, rows_of
from evolvent.envs.databases.records import Database, PythonTool, Value
from evolvent.envs.sandbox import Ended, Limits, Sandbox, Session
from evolvent.errors import InfrastructureError, ToolError
from evolvent.records import ToolCall

FILE = "world.sqlite"
MAX_ANSWER_BYTES = 32 * 2**10
OUTPUT_BYTES = 64 * 2**10  # of stdout, where the answer is the last line
ATTEMPTS = 2  # at opening the file: a call that was ended may have left a journal, which the first look plays back

DRIVER = r"""
import sqlite3 as _sqlite3

def _evolvent(source, name, arguments, nonce, most, unstable):
    import contextlib, io, json, traceback
    allowed = {_sqlite3.SQLITE_SELECT, _sqlite3.SQLITE_READ, _sqlite3.SQLITE_INSERT, _sqlite3.SQLITE_UPDATE,
               _sqlite3.SQLITE_DELETE, _sqlite3.SQLITE_FUNCTION, _sqlite3.SQLITE_TRANSACTION,
               _sqlite3.SQLITE_RECURSIVE, _sqlite3.SQLITE_SAVEPOINT}

    def authorize(action, first, second, *rest):
        odd = action == _sqlite3.SQLITE_FUNCTION and (second or "").lower() in unstable
        schema = (first or "").startswith("sqlite_") and action in (
            _sqlite3.SQLITE_INSERT, _sqlite3.SQLITE_UPDATE, _sqlite3.SQLITE_DELETE)
        return _sqlite3.SQLITE_OK if action in allowed and not odd and not schema else _sqlite3.SQLITE_DENY

    db = _sqlite3.connect("world.sqlite", isolation_level=None, check_same_thread=False)
    for pragma in ("foreign_keys = ON", "synchronous = OFF"):
        db.execute("PRAGMA " + pragma)
    db.set_authorizer(authorize)
    db.execute("BEGIN IMMEDIATE")
    try:
        if name:
            names = {"__name__": "tool"}
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(source, "<tool>", "exec"), names)
                given = names[name](db, **arguments)
            if isinstance(given, _sqlite3.Cursor):
                given = given.fetchall()
            text = json.dumps(given, ensure_ascii=False, allow_nan=False, default=_plain)
            if len(text.encode()) > most:
                raise ValueError("the answer is longer than %d bytes" % most)
        else:
            text = "null"
        if db.in_transaction:
            db.commit()
        said = {"gives": text}
    except BaseException as error:
        if db.in_transaction:
            db.rollback()
        words = str(error)[:500]
        said = {"error": type(error).__name__ + (": " + words if words else "")}
        if isinstance(error, (MemoryError, KeyboardInterrupt)):
            raise
    finally:
        db.close()
    print("\n" + nonce + json.dumps(said))

def _plain(value):
    if isinstance(value, _sqlite3.Row):
        return {name: value[name] for name in value.keys()}
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    raise TypeError("%s is no JSON value" % type(value).__name__)
"""


class SandboxedDatabase(OpenDatabase):
    """A database world of Python tools at work: one call is one transaction, taken back where it raises.

    Where no sandbox works here, it refuses. A tool that hits a limit is an observation; only a sandbox that breaks is
    an InfrastructureError. What a tool keeps outside of the database is gone with the call.
    """

    def __init__(self, plan: Database, sandbox: Sandbox | None = None) -> None:
        self.plan = plan
        self.num_calls = 0
        if sandbox is None:
            from evolvent.envs.sandbox.choose import best

            sandbox = best()
        self._sandbox = sandbox
        self._image = plan.image
        self._session: Session | None = None
        self._is_fresh = True  # the interpreter knows no driver
        self._is_stale = False  # the file in the sandbox may be other than the image
        self._waiting: dict[str, bytes] = {}  # what the next call finds there instead

    def close(self) -> None:
        """End the session with its processes and files."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    async def _answer(self, call: ToolCall) -> str:
        return await asyncio.to_thread(self.answer, call)

    def run(self, name: str, arguments: Mapping[str, Value]) -> Any:
        """What a tool gives back, as JSON values; all that it writes takes effect, or nothing."""
        tool = self.plan.tool(name)
        assert isinstance(tool, PythonTool)
        self._is_stale = True
        said = self._call(tool, arguments)
        if "error" in said:
            raise ToolError(str(said["error"]))
        try:
            return json.loads(said["gives"])
        except (KeyError, TypeError, ValueError) as error:
            raise ToolError("the tool gave no answer that can be read") from error

    def ask(self, sql: str) -> list[tuple[Value, ...]]:
        """The rows that a query of ours finds in a copy."""
        copy = OpenDatabase.__new__(OpenDatabase)
        copy.plan, copy._connection = self.plan, load(self._read())
        try:
            return copy.ask(sql)
        finally:
            copy.close()

    def rows(self) -> Rows:
        """Every table's rows, in order of their key."""
        connection = load(self._read())
        try:
            return rows_of(self.plan, connection)
        except sqlite3.Error as error:
            raise InfrastructureError(
                "a tool broke the database itself", where=self.plan.name, got=error, cure="drop this world"
            ) from error
        finally:
            connection.close()

    def snapshot(self) -> bytes:
        """The number of calls, and the file."""
        return self.num_calls.to_bytes(8, "big") + self._read()

    def restore(self, state: bytes) -> None:
        """Go back to a snapshot; a session whose last call was ended may hold a journal, and is left for a new one."""
        if self._is_fresh:
            self.close()
        self.num_calls, self._image, self._is_stale = int.from_bytes(state[:8], "big"), state[8:], False
        self._waiting = {FILE: self._image}

    def _call(self, tool: PythonTool, arguments: Mapping[str, Value]) -> dict[str, Any]:
        nonce = secrets.token_hex(8)
        session, waiting = self._open(), self._waiting
        result = session.run(_code(self._is_fresh, tool, dict(arguments), nonce), files=waiting)
        self._waiting = {}
        self._is_fresh = result.outcome not in (Ended.OK, Ended.FAILED)
        if result.outcome is not Ended.OK:
            self._is_fresh = True
            why = result.stderr.strip().splitlines()[-1:] if result.outcome is Ended.FAILED else ()
            limit = f" after {self.plan.timeout_s:g} s" if result.outcome is Ended.TIMED_OUT else ""
            return {"error": f"{tool.name} was ended: {result.outcome}{limit}" + "".join(f", {line}" for line in why)}
        _, mark, line = result.stdout.rpartition("\n" + nonce)
        try:
            said = json.loads(line) if mark else None
        except ValueError:
            said = None
        return said if isinstance(said, dict) else {"error": f"{tool.name} gave no answer"}

    def _open(self) -> Session:
        if self._session is None:
            limits = Limits(wall_s=self.plan.timeout_s, cpu_s=self.plan.timeout_s, output_bytes=OUTPUT_BYTES)
            self._session = self._sandbox.session(files={FILE: self._image}, limits=limits)
            self._is_fresh, self._waiting = True, {}
        return self._session

    def _read(self) -> bytes:
        """The file as the last finished call left it."""
        if not self._is_stale:
            return self._image
        session = self._open()
        for _ in range(ATTEMPTS):
            result = session.run(_code(self._is_fresh, None, {}, "-"), keep=(FILE,))
            self._is_fresh = result.outcome is not Ended.OK
            if result.outcome is Ended.OK and FILE in result.files:
                self._image, self._is_stale = result.files[FILE], False
                return self._image
        raise InfrastructureError(
            "the database cannot be read back from the sandbox",
            where=self.plan.name,
            got=f"{result.outcome}: {result.stderr[-300:]}",
        )


def _code(is_fresh: bool, tool: PythonTool | None, arguments: dict[str, Value], nonce: str) -> str:
    """What the session runs for one call; the driver first where the interpreter does not know it."""
    from evolvent.envs.databases.live import UNSTABLE

    given = (tool.source if tool else "", tool.name if tool else "", arguments, nonce, MAX_ANSWER_BYTES)
    call = f"_evolvent(*{given!r}, {sorted(UNSTABLE)!r})"
    return f"{DRIVER}\n{call}" if is_fresh else call
