"""Runs checks that may hang or crash in processes that can be killed, and starts the next one.

A worker reads one JSON request per line and answers with one line. It runs each job on its main thread, ends when its
parent ends (its input closes; and the kernel's own alarm ends one that is deep in a computation), and starts on first
use with the libraries of its jobs already imported.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from evolvent.codec import locate
from evolvent.errors import VerifierError

START_S = 120.0  # importing sympy on a busy machine
MAX_MEMORY_BYTES = 4 * 2**30


class DeadlineError(VerifierError):
    """A job ran past its time and its worker was killed."""


class Workers:
    """A bounded set of worker processes, usable from several threads; a call waits for a free one."""

    def __init__(
        self, num_workers: int = 1, warm: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        self._warm, self._owner, self._environment = tuple(warm), os.getpid(), dict(environment or {})
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        self._alive: set[_Worker] = set()
        for _ in range(num_workers):
            self._idle.put(None)
        atexit.register(self.close)

    def run(self, path: str, timeout_s: float, /, **arguments: Any) -> Any:
        """What the function at `path` returns; VerifierError where it broke, DeadlineError where it was late."""
        worker = self._idle.get()
        try:
            if worker is None or not worker.is_alive:
                self._drop(worker)
                worker = self._start()
            answer = worker.ask({"path": path, "timeout_s": timeout_s, "arguments": arguments}, timeout_s)
        except BaseException:  # Ctrl-C too: an answer left unread would be taken for that of the next job
            self._drop(worker)
            worker = None
            raise
        finally:
            self._idle.put(worker)
        if "error" in answer:
            raise VerifierError("a check broke in its worker", where=path, got=answer["error"])
        return answer["value"]

    def close(self) -> None:
        """Kill and reap every worker; a later call starts new ones."""
        if os.getpid() == self._owner:
            for worker in list(self._alive):
                self._drop(worker)

    @property
    def pids(self) -> list[int]:
        """The process ids of the living workers."""
        return [worker.process.pid for worker in self._alive]

    def _start(self) -> _Worker:
        worker = _Worker(self._warm, self._environment)
        self._alive.add(worker)
        try:
            worker.await_start()
        except BaseException:
            self._drop(worker)
            raise
        return worker

    def _drop(self, worker: _Worker | None) -> None:
        if worker is not None:
            self._alive.discard(worker)
            worker.end()


class _Worker:
    """One process and its two pipes."""

    def __init__(self, warm: Sequence[str], environment: dict[str, str]) -> None:
        here = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join([here, *(part for part in sys.path if part)])
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from evolvent.rewards.workers import serve; serve()", *warm],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": path} | environment,
            start_new_session=True,  # Ctrl-C is the parent's to answer
        )

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def await_start(self) -> None:
        self._read(START_S)

    def ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise VerifierError("a worker died between two jobs", got=self.process.poll()) from error
        return self._read(timeout_s)

    def end(self) -> None:
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                assert pipe is not None
                pipe.close()
        self.process.wait()

    def _read(self, timeout_s: float) -> dict[str, Any]:
        """The next line; a timer kills the worker at the deadline, which ends the reading."""
        assert self.process.stdout is not None
        is_late = threading.Event()

        def end() -> None:
            is_late.set()
            self.process.kill()

        timer = threading.Timer(timeout_s, end)
        timer.daemon = True
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if is_late.is_set():
            self.process.wait()
        if line.endswith(b"\n"):
            answer: dict[str, Any] = json.loads(line)
            return answer
        if is_late.is_set():
            raise DeadlineError(
                "a check took too long", got=f"nothing after {timeout_s:g} s", cure="raise its timeout_s"
            )
        raise VerifierError("a worker died during a job", got=f"exit status {self.process.wait()}")


@functools.cache
def shared(num_workers: int = 1) -> Workers:
    """The workers of this process for mathematics, started at first use with sympy imported."""
    return Workers(num_workers, ("sympy", "math_verify"))


def serve() -> None:
    """The life of a worker: import what is warm, say so, then answer requests until the input closes."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    _bound_memory()
    for module in sys.argv[1:]:
        __import__(module)
    answers.write(b"{}\n")
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _set_alarm(request["timeout_s"] + 1.0)
        try:
            answer = {"value": locate(request["path"])(**request["arguments"])}
        except Exception as error:  # it goes to the parent
            answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        _set_alarm(0.0)
        answers.write(json.dumps(answer).encode() + b"\n")


def _set_alarm(seconds: float) -> None:
    """Let the kernel end this process after `seconds`, even inside one long C call; 0 calls it off."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _bound_memory() -> None:
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
