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
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from evolvent.envs.sandbox.asked import command_of
from evolvent.envs.sandbox.limits import Ended, Limits, Result, Usage
from evolvent.envs.sandbox.names import check_names
from evolvent.envs.sandbox.replay import ReplaySession
from evolvent.envs.sandbox.tier import DEFAULT, NO_FILES, Files, Session
from evolvent.errors import BadInput, InfrastructureError, MissingExtra

NUM_WORKERS, MAX_LINES_READ, MAX_SHOWN = 4, 100_000, 4096


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
        check_names((*files, *keep))
        check_script(code, files, keep)
        with self.checked_out(limits) as session:
            return _fed(session, str(code), stdin, limits)[0]

    def session(self, *, files: Files = NO_FILES, limits: Limits = DEFAULT) -> Session:
        """A worker kept for one session, whose names stay."""
        check_script("", files, ())
        return ReplaySession(lambda: Box(self, limits), files, limits)

    def close(self) -> None:
        """End the workers."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None and self._owner == os.getpid():
            pool.__exit__(None, None, None)

    def checked_out(self, limits: Limits) -> Any:
        """A fresh interpreter, to be entered as a context."""
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


class Box:
    """One worker for a session; who hits a limit loses it with all names, as in every tier."""

    def __init__(self, sandbox: Monty, limits: Limits) -> None:
        self.sandbox, self.limits = sandbox, limits
        self.held: Any = None
        self.live: Any = None

    def call(self, code: str | Sequence[str], stdin: str, files: Files, keep: Sequence[str]) -> Result:
        """One script with the names of those before it; the value of a last line that is an expression is shown."""
        check_script(code, files, keep)
        if self.live is None:
            self.held = self.sandbox.checked_out(self.limits)
            self.live = self.held.__enter__()
        result, value = _fed(self.live, str(code), stdin, self.limits)
        if result.outcome not in (Ended.OK, Ended.FAILED):
            self.close()
        return replace(result, stdout=result.stdout + _shown(value)) if value is not None else result

    def close(self) -> None:
        """Hand the worker back; one that has died has been replaced already."""
        held, self.held, self.live = self.held, None, None
        if held is not None:
            with suppress(Exception):
                held.__exit__(None, None, None)


def check_script(code: str | Sequence[str], files: Files, keep: Sequence[str]) -> None:
    """BadInput unless this is what the tier can run."""
    argv = command_of(code)
    odd = "commands" if argv else "files" if files or keep else ""
    if odd:
        raise BadInput(
            f"monty runs Python code alone: it has no {odd}", where="monty", got=argv or [*files, *keep],
            wanted="code, and text for stdin", cure="take a tier that has them: see `evolvent doctor`",
        )  # fmt: skip


def _shown(value: object) -> str:
    try:
        return repr(value)[:MAX_SHOWN] + "\n"
    except (ValueError, RecursionError):
        return "(too large to show)\n"


def _fed(session: Any, code: str, stdin: str, limits: Limits) -> tuple[Result, object]:
    """What came of one script in a worker, and the value of its last line."""
    import pydantic_monty as monty

    out, start = _Streams(limits.output_bytes, session.worker_pid), time.monotonic()
    unread = iter(stdin.splitlines())

    def read(prompt: object = "") -> str:
        out.add("stdout", str(prompt))
        line = next(unread, None)
        if line is None:
            raise EOFError("EOF when reading a line")
        return line

    value, error, outcome, status = None, "", Ended.OK, 0
    try:
        value = session.feed_run(code, external_lookup={"input": read}, print_callback=out.add)
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
    usage = Usage(time.monotonic() - start)
    return Result(out.text("stdout"), stderr[: limits.output_bytes], status, outcome, usage), value


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
