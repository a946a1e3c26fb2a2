"""A Python tool: runs a whole script in a worker process that has no files, no network and no clock.

The language is pydantic-monty's part of Python. Time stands still, sleeping takes none, and `random` starts from
one seed, so the same script prints the same; only the time limit depends on the machine.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from evolvent.errors import InfrastructureError, MissingExtra
from evolvent.records import ToolResult

NUM_WORKERS = 2
MAX_LINES_READ = 100_000


@dataclass(frozen=True)
class Interpreter:
    """Run Python; what it prints comes back, and the value of a last line that is an expression.

    Every script is complete in itself: nothing is remembered between calls. An error comes back with its line. A call
    waits for a free worker without using up its own time.
    """

    timeout_s: float = 5.0  # ReTool's evaluator, arXiv:2504.11536
    max_memory_bytes: int = 64 * 2**20
    max_output_bytes: int = 64 * 2**10
    name: str = "python"

    async def __call__(self, code: str) -> ToolResult:
        """Run a complete Python script and return what it prints, and the value of its last line.

        code: the whole script, with its imports
        """
        loop = asyncio.get_running_loop()
        ran = await loop.run_in_executor(_threads(), execute, code, self)
        return ToolResult(self.name, ran.text, bool(ran.error))


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a script: what it printed, the value of its last line, and its error, each "" where none."""

    printed: str
    value: str
    error: str

    @property
    def text(self) -> str:
        """All three, as an agent sees them."""
        parts = [self.printed.rstrip("\n"), self.value, f"error: {self.error}" if self.error else ""]
        return "\n".join(part for part in parts if part) or "(no output)"


def execute(code: str, limits: Interpreter, lines: Iterable[str] = ()) -> Ran:
    """Run one script; `input()` reads `lines`. A worker that dies is replaced and the script tried once more."""
    import pydantic_monty as monty

    for is_last in (False, True):
        try:
            return _feed(code, limits, list(lines))
        except monty.MontyCrashedError as error:
            if error.timed_out:
                return Ran("", "", f"took longer than {limits.timeout_s:g} s")
            if is_last:
                return Ran("", "", "the script crashed its interpreter")
    raise AssertionError


def _feed(code: str, limits: Interpreter, lines: list[str]) -> Ran:
    import pydantic_monty as monty

    kept = _Kept(limits.max_output_bytes)
    unread = iter(lines)

    def read(prompt: object = "") -> str:
        line = next(unread, None)
        if line is None:
            raise RuntimeError("no more input")
        return line

    bounds: Any = {
        "max_feed_duration_secs": limits.timeout_s,
        "max_memory": limits.max_memory_bytes,
        "max_suspensions": MAX_LINES_READ,
    }
    policy: Any = {"datetime": datetime(2000, 1, 1, tzinfo=UTC), "sleep": "zero", "random_start": {"seed": 0}}
    with _pool().checkout(limits=bounds, os_policy=policy, assert_message_annotations=False) as session:
        try:
            value = session.feed_run(code, external_lookup={"input": read}, print_callback=kept.add)
        except (monty.MontySyntaxError, monty.MontyRuntimeError) as error:
            return Ran(kept.text, "", _located(error, limits))
    return Ran(kept.text, *_shown(value))


@dataclass
class _Kept:
    """The head and the tail of a stream, with the number of characters left out between them."""

    max_chars: int
    head: str = ""
    tail: str = ""
    num_left_out: int = 0

    def add(self, stream: str, text: str) -> None:
        room = self.max_chars // 2 - len(self.head)
        self.head += text[:room] if room > 0 else ""
        self.tail += text[max(room, 0) :]
        excess = max(0, len(self.tail) - self.max_chars // 2)
        self.tail, self.num_left_out = self.tail[excess:], self.num_left_out + excess

    @property
    def text(self) -> str:
        gap = f"...[{self.num_left_out} characters left out]..." if self.num_left_out else ""
        return self.head + gap + self.tail


def _located(error: Any, limits: Interpreter) -> str:
    """The error and its line, without the measured times and sizes that no two runs share."""
    frames = error.traceback()
    words = error.display("type-msg")
    if words.startswith("TimeoutError: feed time limit exceeded"):
        words = f"took longer than {limits.timeout_s:g} s"
    elif words.startswith("MemoryError: memory limit exceeded"):
        words = f"used more than {limits.max_memory_bytes // 2**20} MiB"
    return f"line {frames[-1].line}: {words}" if frames else words


def _shown(value: object) -> tuple[str, str]:
    """The value as print would show it, and an error where it cannot be shown."""
    try:
        return ("" if value is None else str(value)), ""
    except (ValueError, RecursionError):
        return "", "the value of the last line is too large to show"


@dataclass
class _Workers:
    """The worker processes and the threads that wait for them: one set per process, started at first use."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    owner: int = 0
    pool: Any = None
    threads: ThreadPoolExecutor | None = None


_workers = _Workers()


def _pool() -> Any:
    return _started().pool


def _threads() -> ThreadPoolExecutor:
    threads = _started().threads
    assert threads is not None
    return threads


def _started() -> _Workers:
    with _workers.lock:
        if _workers.owner != os.getpid():
            try:
                import pydantic_monty as monty

                pool = monty.Monty(min_processes=0, max_processes=NUM_WORKERS)
                pool.__enter__()
            except ImportError as error:
                raise MissingExtra(
                    "the Python tool needs pydantic-monty", cure="pip install 'pydantic-monty>=1.4,<2'"
                ) from error
            except (OSError, RuntimeError) as error:
                raise InfrastructureError("the Python tool cannot start", got=error) from error
            _workers.pool, _workers.owner = pool, os.getpid()
            _workers.threads = ThreadPoolExecutor(NUM_WORKERS, "python-tool")
            atexit.register(_stop, os.getpid())
    return _workers


def _stop(owner: int) -> None:
    if owner == os.getpid() and _workers.pool is not None:
        with suppress(Exception):
            _workers.pool.__exit__(None, None, None)
