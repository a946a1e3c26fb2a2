"""Follows one call to its end: its output, its deadline, and what all its processes use together."""

from __future__ import annotations

import json
import os
import secrets
import select
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from evolvent.envs.sandbox.landlock_files import measured
from evolvent.envs.sandbox.landlock_watch import Watch, unlinked_bytes

FIRST_LOOK_S, LOOK_S, DRAIN_S = 0.01, 0.02, 0.5
CHUNK = 1 << 16


class Gone(Exception):
    """Whoever asked is not there any more."""


@dataclass
class Main:
    """The process that a call is about: a script, a command, or an interpreter with its two pipes."""

    pid: int
    handle: int
    out: int
    err: int
    cells: int
    done: int

    def close(self) -> None:
        """Let go of it; the process itself is ended elsewhere."""
        for number in (self.handle, self.out, self.err, self.cells, self.done):
            os.close(number)


@dataclass
class Call:
    """One call under way; `reason` is the limit that ended it, `status` what a cell said of its own end."""

    link: socket.socket
    broker: int
    folder: str
    limits: Mapping[str, float]
    watch: Watch
    main: Main
    token: bytes = b""
    reason: str = ""
    status: int | None = None
    out: bytearray = field(default_factory=bytearray)
    err: bytearray = field(default_factory=bytearray)
    said: bytearray = field(default_factory=bytearray)
    unsent: memoryview = memoryview(b"")

    def put_cell(self, code: bytes, stdin: bytes) -> None:
        """Have the interpreter read a cell; only what names its token can be about it."""
        self.token = secrets.token_hex(8).encode()
        line = json.dumps({"token": self.token.decode(), "sizes": [len(code), len(stdin)]}).encode() + b"\n"
        self.unsent = memoryview(line + code + stdin)
        os.set_blocking(self.main.cells, False)

    def follow(self, start: float) -> None:
        """Until the process or the cell ends, or a limit is hit."""
        deadline, pause, look_at = start + self.limits["wall_s"], FIRST_LOOK_S, start + FIRST_LOOK_S
        poll = select.poll()
        for number in (self.main.handle, self.main.out, self.main.err, self.main.done):
            poll.register(number, select.POLLIN)
        poll.register(self.link, select.POLLRDHUP | select.POLLHUP)
        if self.unsent:
            poll.register(self.main.cells, select.POLLOUT)
        while not self.reason and self.status is None:
            now = time.monotonic()
            events = dict(poll.poll(max(0.0, min(deadline, look_at) - now) * 1000 + 0.5))
            if self._heard(poll, events):
                return
            now = time.monotonic()
            if now >= deadline:
                self.reason = "timed out"
            elif now >= look_at:
                self._look()
                pause = max(LOOK_S, 4 * (time.monotonic() - now))
                look_at = time.monotonic() + pause

    def drain(self) -> None:
        """Take what is still in the pipes, whoever may hold their other ends."""
        deadline = time.monotonic() + DRAIN_S
        for number, held in ((self.main.out, self.out), (self.main.err, self.err)):
            while self._read(number, held) and time.monotonic() < deadline:
                pass

    def outcome(self, status: int) -> str:
        """How the call ended, in the words of `Ended`."""
        if self.reason:
            return self.reason
        if status == 1 and bytes(self.err).rstrip().rpartition(b"\n")[2].startswith(b"MemoryError"):
            return "out of memory"
        if status < 0:
            return "timed out" if self.watch.cpu_s >= self.limits["cpu_s"] or status == -24 else "killed"
        return "failed" if status else "ok"

    def _heard(self, poll: select.poll, events: Mapping[int, int]) -> bool:
        """Take what has come; true where the process has ended."""
        if events.get(self.link.fileno(), 0):
            raise Gone
        for number, held in ((self.main.out, self.out), (self.main.err, self.err)):
            if number in events and not self._read(number, held):
                poll.unregister(number)
        if self.main.cells in events:
            self._send_cell(poll)
        if self.main.done in events:
            self._hear_done(poll)
        return self.main.handle in events

    def _read(self, number: int, held: bytearray) -> bool:
        """One piece of output; false at its end, or where there is none now."""
        try:
            piece = os.read(number, CHUNK)
        except BlockingIOError:
            return False
        room = int(self.limits["output_bytes"]) - len(held)
        held += piece[:room]
        if len(piece) > room:
            self.reason = self.reason or "too much output"
            return False
        return bool(piece)

    def _send_cell(self, poll: select.poll) -> None:
        with suppress(BlockingIOError, BrokenPipeError):
            self.unsent = self.unsent[os.write(self.main.cells, self.unsent[:CHUNK]) :]
        if not self.unsent:
            poll.unregister(self.main.cells)

    def _hear_done(self, poll: select.poll) -> None:
        """The code can write here, too: what is not about this cell is passed over, too much of it ends the call."""
        with suppress(BlockingIOError):
            piece = os.read(self.main.done, CHUNK)
            self.said += piece
            if not piece:
                poll.unregister(self.main.done)
        *lines, rest = bytes(self.said).split(b"\n")
        for line in lines:
            token, _, status = line.partition(b" ")
            if token == self.token and status.isdigit() and len(status) < 4:
                self.status = int(status) & 0xFF
        self.said = bytearray(rest)
        if len(rest) > CHUNK:
            self.reason = "killed"

    def _look(self) -> None:
        """Whether all processes together have gone too far, and whether anybody still waits for this."""
        if os.getppid() != self.broker:
            raise Gone
        self.watch.look(int(self.limits["memory_bytes"]))
        num_bytes, num_files = measured(self.folder)
        if self.watch.memory_bytes > self.limits["memory_bytes"]:
            self.reason = "out of memory"
        elif self.watch.cpu_s >= self.limits["cpu_s"] + 0.05:
            self.reason = "timed out"
        elif (
            num_files - 2 > self.limits["num_files"]  # two are the folders that it was given
            or num_bytes + unlinked_bytes() > self.limits["disk_bytes"]
            or self.watch.num_tasks > self.limits["num_processes"] + 1
        ):
            self.reason = "killed"
