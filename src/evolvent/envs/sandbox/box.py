"""Serves the calls of one box: its own processes, files and namespaces, watched from just outside of them.

Runs inside the sandbox, from its source text. The code that nobody trusts sees neither this process nor what it holds.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from contextlib import suppress
from typing import Any

from evolvent.envs.sandbox.confine import (
    BIND,
    DIE_WITH_PARENT,
    DUMPABLE,
    NEW_BOX,
    NO_DEV,
    NO_EXEC,
    NO_SUID,
    PRIVATE,
    READ_ONLY,
    RECURSIVE,
    REMOUNT,
    mount,
    prctl,
    unshare,
)  # fmt: skip
from evolvent.envs.sandbox.folder import keep_files, put_files
from evolvent.envs.sandbox.follow import Process, as_file, follow, spawn
from evolvent.envs.sandbox.python_inside import LENGTH
from evolvent.envs.sandbox.wire import get, put

TICK_S, ANSWER_S = 1.0, 5.0


class Box:
    """Namespaces with an idle first process, ready for a call."""

    def __init__(self, program: bytes) -> None:
        self.program = program
        self.limits: dict[str, Any] = {}
        self.groups: list[int] = []
        self.interpreter: Process | None = None
        self.interpreter_pid = 0  # as the box numbers it
        self.last_pid = self.call = -1
        prctl(DIE_WITH_PARENT, signal.SIGKILL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        unshare(NEW_BOX)
        mount("none", "/", "", PRIVATE | RECURSIVE)
        self.first = First()
        self.load = os.open("/proc/loadavg", os.O_RDONLY)

    def serve(self, call: socket.socket, header: dict[str, Any], groups: list[int]) -> None:
        """Answer what comes over `call` until it is closed."""
        self.limits, self.groups, self.call = header["limits"], groups, call.fileno()
        room = f"mode=0700,size={self.limits['disk_bytes']},nr_inodes={self.limits['num_files'] + 4}"
        mount("files", "/box", "tmpfs", NO_SUID | NO_DEV, room)
        for name in ("work", "tmp", "shm"):
            os.mkdir(f"/box/{name}", 0o700)  # noqa: PTH102
        while True:
            self._wait_for(call)
            try:
                asked, blobs = get(call)
            except (EOFError, ConnectionError):
                break
            answer, content = self._answer(asked, blobs, is_once=header["is_once"])
            put(call, answer, content)
            if header["is_once"]:
                return
        self._end()

    def _wait_for(self, call: socket.socket) -> None:
        """Wait for the next call; what a cell left computing meanwhile is stopped until then."""
        cell, used = self.interpreter, 0.0
        while not select.select([call], [], [], TICK_S if cell else None)[0]:
            if cell and not cell.is_stopped:
                before, used = used, cell.look()
                if before and used - before > TICK_S / 10:
                    os.kill(cell.pid, signal.SIGSTOP)
                    cell.is_stopped = True
        if cell and cell.is_stopped:
            os.kill(cell.pid, signal.SIGCONT)
            cell.is_stopped = False

    def _answer(self, asked: dict[str, Any], blobs: list[bytes], is_once: bool) -> tuple[dict[str, Any], list[bytes]]:
        start = time.monotonic()
        complaint = put_files(asked["files"], blobs[2:])
        if complaint:
            return {"exit": 1, "ended": "failed", "files": []}, [b"", complaint.encode(errors="replace")]
        try:
            process = self._begin(asked, blobs[0], blobs[1])
            deadline = start + self.limits["wall_s"]
            why = follow(process, self.limits, deadline, self.call, watches=not self.groups)
            answer, output = self._close_call(process, why, is_once)
        except OSError as error:
            return {"broken": f"{type(error).__name__}: {error}"}, []
        if process.setup_error:
            return {"broken": process.setup_error}, []
        names, contents = keep_files(asked["keep"], self.limits["file_bytes"], self.limits["disk_bytes"])
        return answer | {"wall_s": time.monotonic() - start, "files": names}, output + contents

    def _begin(self, asked: dict[str, Any], code: bytes, stdin: bytes) -> Process:
        if asked["kind"] != "cell":
            return spawn(asked["kind"], asked["words"], (code, stdin), self)
        if self.interpreter is None:
            self.interpreter = spawn("cell", (), (b"", b""), self)
            self.interpreter_pid = self.interpreter.pid_inside()
        cell = self.interpreter
        cell.begin()
        files = [as_file(stdin)] if stdin or cell.had_stdin else []
        cell.had_stdin = bool(stdin)
        cell.send(LENGTH.pack(len(code)) + code, files)
        for file in files:
            os.close(file)
        return cell

    def _close_call(self, process: Process, why: str, is_once: bool) -> tuple[dict[str, Any], list[bytes]]:
        """What the call came to; whatever it left running is gone afterwards."""
        process.look()
        if is_once:
            os.kill(self.first.pid, signal.SIGKILL)  # and with it all the others
        elif why:
            self.first.kill_all_but(0)
        if why or process.said is None:
            process.join()
        if is_once:
            os.waitpid(self.first.pid, 0)  # the box is empty now
        else:
            self._forget_interpreter(process, why)
            self._sweep()
        room = self.limits["output_bytes"]
        for pipe in process.texts:
            process.read(pipe, room)
        if process.is_over:
            process.close()
        status = process.exit if process.said is None or why else process.said
        if not why and any(len(text) > room for text in process.texts.values()):
            why = "too much output"
        if not why and status < 0:
            why = "timed out" if -status == signal.SIGXCPU else "killed"
        answer = {"exit": status, "ended": why or ("ok" if status == 0 else "failed"), "cpu_s": process.used_s}
        output = [bytes(text[:room]) for text in process.texts.values()]
        return answer | {"max_memory_bytes": process.max_memory_bytes}, output

    def _forget_interpreter(self, process: Process, why: str) -> None:
        """It ended by itself in a cell, or was ended along with a command."""
        cell = self.interpreter
        if cell is None or not (why or cell.is_over):
            return
        if cell is not process:
            cell.join()
            cell.close()
        self.interpreter, self.interpreter_pid = None, 0

    def _sweep(self) -> None:
        """End the processes that a call left behind, if it started any."""
        last = self._read_last_pid()
        if last != self.last_pid and _others({1, self.interpreter_pid}):
            self.first.kill_all_but(self.interpreter_pid)
            last = self._read_last_pid()
        self.last_pid = last

    def _read_last_pid(self) -> int:
        # counts every process around here, too: if it stands still, this box has started none
        return int(os.pread(self.load, 128, 0).split()[-1])

    def _end(self) -> None:
        """End every process of the box: its first one takes the others along, once all are waited for."""
        os.kill(self.first.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)


class First:
    """The process that the others of a box hang on: it collects the dead, and ends who is to end.

    As the first of its namespace it can be neither killed nor stopped from inside.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _be_first(theirs)
            except BaseException as error:
                theirs.send(f"{type(error).__name__}: {error}".encode(errors="replace"))
            finally:
                os._exit(1)
        theirs.close()
        self._line = ours
        self._expect()

    def kill_all_but(self, pid: int) -> None:
        """End every other process but one, by its number in the box; 0 spares none."""
        self._line.send(pid.to_bytes(4, "little"))
        self._expect()

    def _expect(self) -> None:
        self._line.settimeout(ANSWER_S)
        said = self._line.recv(1024)
        if said != b"1":
            raise OSError(said.decode(errors="replace") or "the first process of the box is gone")


def _be_first(line: socket.socket) -> None:
    prctl(DIE_WITH_PARENT, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.setsid()
    mount("proc", "/proc", "proc", NO_SUID | NO_DEV | NO_EXEC)
    mount("/proc/sys", "/proc/sys", "", BIND)
    mount("none", "/proc/sys", "", BIND | REMOUNT | READ_ONLY | NO_SUID | NO_DEV | NO_EXEC)
    prctl(DUMPABLE, 0)
    os.closerange(0, line.fileno())
    os.closerange(line.fileno() + 1, 1024)
    line.send(b"1")
    while spared := line.recv(4):
        _kill_others(int.from_bytes(spared, "little"))
        line.send(b"1")


def _others(known: set[int]) -> list[int]:
    """Live processes of the box besides these."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit() and int(name) not in known:
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                if file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X"):
                    found.append(int(name))
    return found


def _kill_others(spared: int) -> None:
    for turn in range(200):
        if not spared:
            with suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
        others = _others({1, spared})
        for pid in others:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not others:
            return
        time.sleep(0.0001 * turn)
    os.kill(-1, signal.SIGKILL)  # who breeds faster than that takes the spared one along
