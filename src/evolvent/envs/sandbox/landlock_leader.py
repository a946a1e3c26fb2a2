"""Leads one sandbox: starts what runs in it, watches what all of it uses, and ends it to the last process and file."""

from __future__ import annotations

import json
import math
import os
import resource
import secrets
import select
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evolvent.envs.sandbox import landlock_fence as fence
from evolvent.envs.sandbox import landlock_files as files
from evolvent.envs.sandbox.landlock_broker import receive, send
from evolvent.envs.sandbox.landlock_inside import run_command, run_script, serve_cells
from evolvent.envs.sandbox.landlock_watch import Watch, descendants, num_tasks_of_user, unlinked_bytes

FIRST_LOOK_S, LOOK_S, DRAIN_S = 0.01, 0.02, 0.5
CHUNK = 1 << 16


class Gone(Exception):
    """Whoever asked is not there any more."""


def lead(link: socket.socket, home: str) -> None:
    """Serve one connection: its limits, then calls until it ends."""
    signal.signal(signal.SIGTERM, _leave)
    leader = None
    try:
        header, (program,) = receive(link)
        leader = Leader(link, home, header, program)
        while True:
            header, blobs = receive(link)
            try:
                told, output = leader.run(header, blobs)
            except OSError as error:
                send(link, {"broken": str(error)})
                break
            send(link, told, output)
    except (EOFError, Gone, ConnectionError):
        pass
    finally:
        if leader:
            leader.close()


def _leave(*_: object) -> None:
    raise Gone


@dataclass
class Main:
    """The process that a call is about: a script, a command, or an interpreter with its two pipes."""

    pid: int
    handle: int
    out: int
    err: int
    cells: int = -1
    done: int = -1

    def close(self) -> None:
        """Let go of everything; the process itself is ended elsewhere."""
        for number in (self.handle, self.out, self.err, self.cells, self.done):
            if number >= 0:
                os.close(number)


class Leader:
    """One sandbox: its folder, its limits, its processes."""

    def __init__(self, link: socket.socket, home: str, header: dict[str, Any], program: bytes) -> None:
        self.link, self.limits, self.program = link, header["limits"], program
        self.is_session = header["is_session"]
        self.broker = os.getppid()
        fence.become_subreaper()
        fence.scope_signals()
        self.is_scoped = not _can_signal(self.broker)
        self.user = fence.own_user()
        self.folder = f"{home}/{os.getpid()}"
        for name in ("", "/work", "/tmp"):
            os.mkdir(self.folder + name, 0o711 if not name else 0o700)
            if name and self.user is not None:
                os.chown(self.folder + name, self.user, self.user)
        self.watch = Watch()
        self.interpreter: Main | None = None
        others = num_tasks_of_user() if self.user is None else 0
        self.bounds = {**self.limits, "num_tasks": self.limits["num_processes"] + others}

    @property
    def work(self) -> str:
        """The working folder."""
        return self.folder + "/work"

    def run(self, header: dict[str, Any], blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        """One call, from its files to what is kept of them."""
        code, stdin, *contents = blobs
        files.put(self.work, dict(zip(header["files"], contents, strict=True)), self.user)
        start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        self._signal_all(signal.SIGCONT)
        self.watch.begin()
        main = self._started(header, code, stdin)
        call = Call(self, main, start + self.limits["wall_s"])
        if main is self.interpreter:
            call.token = secrets.token_hex(8)
            _put_cell(main.cells, call.token, code, stdin)
        call.follow()
        status = self._end(main, call)
        outcome = call.outcome(status)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall_s, cpu_s = time.monotonic() - start, sum(after[:2]) - sum(before[:2])
        found = files.kept(self.work, header["keep"], self.limits["file_bytes"], self.limits["disk_bytes"])
        told = {
            "exit": status, "outcome": outcome, "wall_s": wall_s, "cpu_s": max(cpu_s, self.watch.cpu_s),
            "memory": max(self.watch.max_memory_bytes, after.ru_maxrss * 1024), "kept": list(found),
        }  # fmt: skip
        return told, [bytes(call.out), bytes(call.err), *found.values()]

    def close(self) -> None:
        """End every process and remove every file."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._kill_all()
        files.remove(self.folder)

    def _started(self, header: dict[str, Any], code: bytes, stdin: bytes) -> Main:
        if header["argv"] or not self.is_session:
            return self._spawn([word.encode("utf-8", "surrogateescape") for word in header["argv"]], code, stdin)
        if not self.interpreter:
            self.interpreter = self._spawn([], None, b"")
        return self.interpreter

    def _spawn(self, words: list[bytes], code: bytes | None, stdin: bytes) -> Main:
        """Fork, fence in, run; a fence that does not close is the sandbox's fault and not the code's."""
        ready, said = os.pipe()
        pipes = [os.pipe() for _ in range(4)]  # out, err, cells, done
        given = os.memfd_create("stdin")
        os.write(given, stdin) if stdin else None
        os.lseek(given, 0, os.SEEK_SET)
        is_session = code is None and not words
        pid = os.fork()
        if not pid:
            try:
                self._go_in(given, [pipes[0][1], pipes[1][1], pipes[2][0], pipes[3][1]], said, is_session)
            except BaseException as error:
                os.write(said, f"{type(error).__name__}: {error}".encode())
                os._exit(1)
            if words:
                run_command(words)
            if code is not None:
                run_script(code)
            serve_cells(3, 4)
        for number in (said, given, pipes[0][1], pipes[1][1], pipes[2][0], pipes[3][1]):
            os.close(number)
        if trouble := os.read(ready, CHUNK):
            raise OSError(trouble.decode())
        os.close(ready)
        for number in (pipes[0][0], pipes[1][0], pipes[3][0]):
            os.set_blocking(number, False)
        return Main(pid, os.pidfd_open(pid), pipes[0][0], pipes[1][0], pipes[2][1], pipes[3][0])

    def _go_in(self, given: int, ends: list[int], said: int, is_session: bool) -> None:
        """In the child: only its own streams, folder and environment, then the fence."""
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        high = [fcntl_dup(number) for number in (given, *ends, said)]
        for place, number in enumerate(high[:5]):
            os.dup2(number, place, inheritable=True)
        keep = 5 if is_session else 3
        os.dup2(high[5], keep, inheritable=False)
        os.closerange(keep + 1, 1 << 16)
        os.chdir(self.work)
        os.environ.clear()
        os.environ.update(self._environment())
        os.umask(0o077)
        bounds = {**self.bounds, "cpu_s": 0 if is_session else self.limits["cpu_s"]}
        fence.enter((self.work, self.folder + "/tmp"), bounds, self.user, self.program)
        os.close(keep)
