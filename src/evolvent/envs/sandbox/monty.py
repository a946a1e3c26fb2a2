"""A sandbox on any system: pydantic-monty, an interpreter for a part of Python that has no files and no network.

Code only, and only what it prints: there is nothing to escape to, and nothing to put files or commands into.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from evolvent.envs.sandbox.asked import Asked, Replay, checked
from evolvent.envs.sandbox.limits import Ended, Limits, Result, Usage
from evolvent.envs.sandbox.tier import DEFAULT, NO_FILES, Files
from evolvent.errors import BadInput, InfrastructureError, MissingExtra

NUM_WORKERS, MAX_LINES_READ = 4, 100_000


def probe() -> str:
    """Nothing where a script runs, else why not and the cure."""
    try:
        sandbox = Monty()
        ran = sandbox.run("print(1 + 1)")
        sandbox.close()
    except (MissingExtra, InfrastructureError) as error:
        return f"{error.what}; {error.cure}" if error.cure else f"{error.what}: {error.__cause__}"
    return "" if ran.stdout == "2\n" else f"1 + 1 gives {ran.stdout or ran.stderr}"


def open_() -> Monty:
    """The sandbox of this process; its workers start with the first call."""
    return Monty()


@dataclass(eq=False)
class Monty:
    """Workers of the interpreter, started as they are needed and used again, each wiped between calls."""

    name: str = "monty"
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _pool: Any = field(default=None, repr=False)
    _owner: int = 0

    def run(
        self,
        code: str | Sequence[str],
        *,
        stdin: str = "",
        files: Files = NO_FILES,
        keep: Sequence[str] = (),
        limits: Limits = DEFAULT,
    ) -> Result:
        """Run once; a command or files are BadInput."""
        asked = _script(code, stdin, files, keep, where="Monty.run")
        with self._checked_out(limits) as session:
            return _fed(session, asked, limits)

    def session(self, *, files: Files = NO_FILES, limits: Limits = DEFAULT) -> MontySession:
        """A worker kept for one session, whose names stay."""
        _script("", "", files, (), where="Monty.session")
        return MontySession(self, limits)

    def close(self) -> None:
        """End the workers."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None and self._owner == os.getpid():
            pool.__exit__(None, None, None)

    def _checked_out(self, limits: Limits) -> Any:
        bounds: Any = {
            "max_feed_duration_secs": min(limits.wall_s, limits.cpu_s),
            "max_memory": limits.memory_bytes,
            "max_suspensions": MAX_LINES_READ,
        }
        policy: Any = {"datetime": datetime(2000, 1, 1, tzinfo=UTC), "sleep": "zero", "random_start": {"seed": 0}}
        return self._started().checkout(limits=bounds, os_policy=policy, assert_message_annotations=False)

    def _started(self) -> Any:
        with self._lock:
            if self._pool is None or self._owner != os.getpid():
                try:
                    import pydantic_monty as monty

                    pool = monty.Monty(min_processes=0, max_processes=NUM_WORKERS)
                    pool.__enter__()
                except ImportError as error:
                    raise MissingExtra(
                        "pydantic-monty is not installed", cure="pip install 'pydantic-monty>=1.4,<2'"
                    ) from error
                except (OSError, RuntimeError) as error:
                    raise InfrastructureError("pydantic-monty cannot start", got=error) from error
                self._pool, self._owner = pool, os.getpid()
            return self._pool


@dataclass(eq=False)
class MontySession:
    """Calls to one worker, which keeps names until it dies of a limit."""

    sandbox: Monty
    limits: Limits
    _held: Any = field(default=None, repr=False)
    _live: Any = field(default=None, repr=False)
    _replay: Replay = field(default_factory=Replay, repr=False)
    _is_closed: bool = False

    def run(
        self, code: str | Sequence[str], *, stdin: str = "", files: Files = NO_FILES, keep: Sequence[str] = ()
    ) -> Result:
        """Run Python code with the names of the calls before it."""
        if self._is_closed:
            raise BadInput("this session is closed", where="Session.run")
        asked = _script(code, stdin, files, keep, where="Session.run")
        if self._live is None:
            self._held = self.sandbox._checked_out(self.limits)
            self._live = self._held.__enter__()
        result = _fed(self._live, asked, self.limits)
        if result.outcome not in (Ended.OK, Ended.FAILED):
            self._drop()  # as in every tier: who hit a limit starts with no names
        self._replay.add(asked, result)
        return result

    def snapshot(self) -> bytes:
        """The calls so far."""
        return self._replay.state()

    def restore(self, state: bytes) -> None:
        """Go back to a snapshot: a fresh worker, the same calls."""
        self._drop()
        self._is_closed = False
        self._replay.restore(state, self.run)

    def close(self) -> None:
        """Hand the worker back."""
        self._is_closed = True
        self._drop()

    def _drop(self) -> None:
        held, self._held, self._live = self._held, None, None
        if held is not None:
            with suppress(Exception):  # a worker that has died has been replaced already
                held.__exit__(None, None, None)

    def __enter__(self) -> MontySession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _script(code: str | Sequence[str], stdin: str, files: Files, keep: Sequence[str], *, where: str) -> Asked:
    """The call, if it is one that this tier can make."""
    asked = checked(code, stdin, files, keep, where=where)
    odd = "commands" if asked.argv else "files" if asked.files or asked.keep else ""
    if odd:
        raise BadInput(
            f"monty runs Python code alone: it has no {odd}", where=where, got=list(asked.argv or asked.files or keep),
            wanted="code, and text for stdin", cure="apt-get install bubblewrap, or another tier that `doctor` names",
        )  # fmt: skip
    return asked


def _fed(session: Any, asked: Asked, limits: Limits) -> Result:
    """What came of one script in a worker."""
    import pydantic_monty as monty

    out, start = _Streams(limits.output_bytes, session.worker_pid), time.monotonic()
    unread = iter(asked.stdin.splitlines())

    def read(prompt: object = "") -> str:
        out.add("stdout", str(prompt))
        line = next(unread, None)
        if line is None:
            raise EOFError("EOF when reading a line")
        return line

    error, outcome, status = "", Ended.OK, 0
    try:
        session.feed_run(asked.code, external_lookup={"input": read}, print_callback=out.add)
    except (monty.MontySyntaxError, monty.MontyRuntimeError) as problem:
        outcome, status = _ended(problem.display("type-msg"))
        # measured times and sizes are no two times the same
        error = str(problem.display("traceback")) if outcome is Ended.FAILED else ""
    except monty.MontyCrashedError as problem:
        error = "" if problem.timed_out else "the interpreter crashed"
        outcome, status = (Ended.TIMED_OUT if problem.timed_out else Ended.KILLED), -9
    except (ValueError, UnicodeError) as problem:  # text that is no Unicode never reaches the worker
        error, outcome, status = f"SyntaxError: {problem}", Ended.FAILED, 1
    stderr = out.text("stderr") + (error.rstrip("\n") + "\n" if error else "")
    if out.is_over:
        outcome, status = Ended.TOO_MUCH_OUTPUT, -9
    return Result(
        out.text("stdout"), stderr[: limits.output_bytes], status, outcome, Usage(time.monotonic() - start)
    )  # fmt: skip


def _ended(words: str) -> tuple[Ended, int]:
    if words.startswith("TimeoutError: feed time limit exceeded"):
        return Ended.TIMED_OUT, -9
    if words.startswith("MemoryError"):
        return Ended.OUT_OF_MEMORY, 1
    return Ended.FAILED, 1


@dataclass
class _Streams:
    """What was printed, up to a limit of bytes each; more ends the worker, which does not wait to be told."""

    max_bytes: int
    worker: int | None
    is_over: bool = False
    held: dict[str, bytearray] = field(default_factory=lambda: {"stdout": bytearray(), "stderr": bytearray()})

    def add(self, stream: str, text: str) -> None:
        kept = self.held[stream]
        data = text.encode("utf-8", "replace")
        room = self.max_bytes - len(kept)
        kept += data[:room]
        if len(data) > room:
            self.is_over = True
            if self.worker:
                with suppress(OSError):
                    os.kill(self.worker, signal.SIGKILL)

    def text(self, stream: str) -> str:
        return self.held[stream].decode("utf-8", "replace")
