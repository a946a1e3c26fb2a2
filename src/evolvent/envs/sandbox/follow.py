"""Starts one confined process and follows it: output, time, memory, and how it ended.

Runs inside the sandbox, from its source text: nothing but the standard library and its neighbours here.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from evolvent.envs.sandbox.confine import confine
from evolvent.envs.sandbox.python_inside import run_script, serve_cells

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
WATCH_S, CLOCK_S, START_S = 0.02, 0.1, 5.0
_ADD_SEALS, _ALL_SEALS = 1033, 1 | 2 | 4 | 8  # fcntl names them from Python 3.13 on


class Process:
    """A confined process as seen from outside; an interpreter that lasts has a channel for its cells."""

    def __init__(self, pid: int, pipes: tuple[int, int, int], channel: socket.socket | None) -> None:
        self.pid, self.channel = pid, channel
        self.out, self.err, self.setup = pipes
        self.handle = os.pidfd_open(pid)
        self.is_over = self.is_stopped = self.had_stdin = False
        self.setup_error = ""
        self.exit = 0
        for pipe in pipes:
            os.set_blocking(pipe, False)
        self.begin()

    def begin(self) -> None:
        """Forget the last call."""
        self.texts = {self.out: bytearray(), self.err: bytearray()}
        self.said: int | None = None
        self.used_s, self.max_memory_bytes = 0.0, 0
        self._before_s = self._clock_s() if self.channel else 0.0

    def pid_inside(self) -> int:
        """The number that the process has in its box, told before it ran anything; 0 where it could not start."""
        if self.channel is None:
            return 0
        self.channel.settimeout(START_S)
        told = self.channel.recv(4)
        self.channel.settimeout(None)
        return int.from_bytes(told, "little")

    def send(self, data: bytes, files: Sequence[int]) -> None:
        """Hand over a cell; what was said before it, out of turn, is forgotten."""
        assert self.channel is not None
        with suppress(BlockingIOError):
            for _ in range(16):
                self.channel.recv(2**16, socket.MSG_DONTWAIT)
        with suppress(ConnectionError):  # it is gone, and that is seen at once
            sent = socket.send_fds(self.channel, [data], files)
            if sent < len(data):
                self.channel.sendall(data[sent:])

    def look(self) -> float:
        """Seconds of computing in this call, of all its threads."""
        if not self.is_over:
            self.used_s = max(self._clock_s() - self._before_s, self.used_s)
        return self.used_s

    def read(self, pipe: int, room: int) -> bool:
        """Take what is there; False where the pipe is at its end."""
        text = self.texts[pipe]
        with suppress(BlockingIOError):
            while len(text) <= room:
                data = os.read(pipe, 65536)
                if not data:
                    return False
                text += data
        return True

    def join(self) -> None:
        """Wait for its end, which is near."""
        if not self.is_over:
            _, status, usage = os.wait4(self.pid, 0)
            self.is_over = True
            self.exit = os.waitstatus_to_exitcode(status)
            self.used_s = max(usage.ru_utime + usage.ru_stime - self._before_s, self.used_s)
            self.max_memory_bytes = max(self.max_memory_bytes, usage.ru_maxrss * 1024)

    def close(self) -> None:
        """Give back its descriptors, after its end."""
        with suppress(BlockingIOError):
            self.setup_error = os.read(self.setup, 4096).decode(errors="replace")
        for number in (self.out, self.err, self.setup, self.handle):
            os.close(number)
        if self.channel is not None:
            self.channel.close()

    def _clock_s(self) -> float:
        try:
            return time.clock_gettime((~self.pid << 3) | 2)  # the kernel's number of a process's CPU clock
        except OSError:
            return 0.0


def follow(process: Process, limits: dict[str, Any], deadline: float, call: int, watches: bool) -> str:
    """Collect output until the call is over by itself, or say which limit it hit, or that `call` was hung up."""
    poller = select.poll()
    poller.register(call, 0)  # only its end
    channels = [process.channel.fileno()] if process.channel else []
    for number in (process.out, process.err, process.handle, *channels):
        poller.register(number, select.POLLIN)
    room, tick_s = limits["output_bytes"], WATCH_S if watches else CLOCK_S
    look_at = time.monotonic() + tick_s
    while (now := time.monotonic()) < deadline:
        for number, _ in poller.poll(max(1.0, 1000 * (min(deadline, look_at) - now))):
            if number in process.texts:
                if not process.read(number, room):
                    poller.unregister(number)
                if len(process.texts[number]) > room:
                    return "too much output"
            elif number == call:
                return "killed"
            elif number == process.handle or _has_said(process):
                return ""
            else:  # the channel is closed: the interpreter is about to end
                poller.unregister(number)
        if now >= look_at:
            look_at = now + tick_s
            if process.look() > limits["cpu_s"]:
                return "timed out"
            if watches and _weigh(process) > limits["memory_bytes"]:
                return "out of memory"
    return "timed out"


def spawn(kind: str, words: Sequence[str], contents: tuple[bytes, bytes], box: Any) -> Process:
    """Start a confined process in the box: a script or an interpreter for cells, or a command of these words."""
    code, stdin = contents
    out, out_end = os.pipe()
    err, err_end = os.pipe()
    setup, setup_end = os.pipe()
    ours, theirs = socket.socketpair() if kind == "cell" else (None, None)
    given = as_file(stdin)
    pid = os.fork()
    if pid == 0:
        try:
            _enter(box, kind, (given, out_end, err_end), [setup_end, theirs.fileno() if theirs else setup_end])
            if theirs is not None:
                theirs.sendall(os.getpid().to_bytes(4, "little"))
        except BaseException as error:
            os.write(setup_end, f"{type(error).__name__}: {error}".encode(errors="replace"))
            os._exit(1)
        _run(kind, words, code, setup_end, theirs)
    for number in (given, out_end, err_end, setup_end):
        os.close(number)
    if theirs is not None:
        theirs.close()
    return Process(pid, (out, err, setup), ours)


def as_file(content: bytes) -> int:
    """A file of memory with this content, read from its start; whoever holds it cannot make it larger."""
    file = os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    done = 0
    while done < len(content):
        done += os.write(file, content[done:])
    os.lseek(file, 0, os.SEEK_SET)
    fcntl.fcntl(file, _ADD_SEALS, _ALL_SEALS)
    return file


def _has_said(process: Process) -> bool:
    assert process.channel is not None
    try:
        said = process.channel.recv(1)
    except ConnectionError:
        return False
    process.said = said[0] if said else None
    return bool(said)


def _enter(box: Any, kind: str, standard: tuple[int, int, int], kept: list[int]) -> None:
    os.setsid()  # a signal to its group must not reach who is outside
    signal.set_wakeup_fd(-1)
    for group in box.groups:
        os.write(group, b"0")
    for place, number in enumerate(standard):
        os.dup2(number, place, inheritable=True)
    start = 3
    for number in sorted(set(kept)):
        os.closerange(start, number)
        start = number + 1
    os.closerange(start, 1024)
    os.chdir("/box/work")
    confine(box.limits, box.program, is_once=kind != "cell")


def _run(kind: str, words: Sequence[str], code: bytes, setup: int, channel: socket.socket | None) -> None:
    """Become what was asked for; never comes back."""
    try:
        if kind == "command":
            for number in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            os.execvp(words[0], list(words))
        os.close(setup)
        if channel is not None:
            serve_cells(channel)
        run_script(code)
    except FileNotFoundError:
        os.write(2, f"{words[0] if words else ''}: command not found\n".encode(errors="replace"))
        os._exit(127)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode(errors="replace"))
        os._exit(126)
    os._exit(126)


def _weigh(process: Process) -> int:
    """Bytes of memory of the whole box: its own pages, and shared ones by their share once it looks like too much."""
    own = sum(_own_bytes(name) for name in os.listdir("/proc") if name.isdigit() and name != "1")  # noqa: PTH208
    process.max_memory_bytes = max(process.max_memory_bytes, own)
    return own


def _own_bytes(name: str) -> int:
    with suppress(OSError), open(f"/proc/{name}/smaps_rollup", "rb") as file:  # noqa: PTH123
        for line in file:
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    with suppress(OSError), open(f"/proc/{name}/statm", "rb") as file:  # noqa: PTH123
        _, resident, shared, *_ = map(int, file.read().split())
        return (resident - shared) * PAGE_BYTES
    return 0
