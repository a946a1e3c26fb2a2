"""Follows a command of the engine's to its end or its limits, or one cell of an interpreter that goes on."""

from __future__ import annotations

import json
import os
import secrets
import selectors
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from evolvent.envs.sandbox.limits import Ended, Limits

CHUNK = 1 << 16
SIGNALLED = 128  # the engine says so that a signal ended a command


@dataclass
class Ran:
    """What was heard; `reason` is the limit that ended it."""

    out: bytearray = field(default_factory=bytearray)
    err: bytearray = field(default_factory=bytearray)
    status: int = -9
    reason: Ended | None = None
    has_ended: bool = False
    wall_s: float = 0.0


def communicate(words: Sequence[str], given: bytes, limits: Limits) -> Ran:
    """Run a command with this on its stdin until it ends or hits a limit."""
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, start_new_session=True
    )
    try:
        return _followed(process, given, limits, token=b"")
    finally:
        end(process)


def follow_cell(process: subprocess.Popen[bytes], code: bytes, given: bytes, limits: Limits) -> Ran:
    """Have an interpreter run a cell; both its streams end with a token, or it dies."""
    token = secrets.token_hex(16).encode()
    header = json.dumps({"token": token.decode(), "sizes": [len(code), len(given)]}).encode() + b"\n"
    return _followed(process, header + code + given, limits, token=token)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a command of the engine's and let go of its pipes."""
    process.kill()
    for pipe in (process.stdin, process.stdout, process.stderr):
        with suppress(OSError):
            if pipe:
                pipe.close()
    process.wait()


def _followed(process: subprocess.Popen[bytes], given: bytes, limits: Limits, *, token: bytes) -> Ran:
    assert process.stdin and process.stdout and process.stderr
    ran, start, unsent = Ran(), time.monotonic(), memoryview(given)
    open_ends = {process.stdout.fileno(): ran.out, process.stderr.fileno(): ran.err}
    sink = process.stdin.fileno()
    with selectors.DefaultSelector() as selector:
        for number in open_ends:
            selector.register(number, selectors.EVENT_READ)
        os.set_blocking(sink, False)
        selector.register(sink, selectors.EVENT_WRITE)
        while open_ends and not ran.reason:
            left = start + limits.wall_s - time.monotonic()
            if left <= 0:
                ran.reason = Ended.TIMED_OUT
            for key, _ in selector.select(max(0.0, min(left, 1.0))):
                if key.fd == sink:
                    unsent = _sent(sink, unsent)
                    if not unsent:
                        selector.unregister(sink)
                        process.stdin.close() if not token else None
                elif key.fd in open_ends and not _heard(key.fd, open_ends[key.fd], ran, limits, token):
                    del open_ends[key.fd]
                    selector.unregister(key.fd)
    ran.wall_s = time.monotonic() - start
    if not ran.reason and (not token or ran.has_ended):
        status = process.wait()
        ran.status = SIGNALLED - status if status > SIGNALLED else status
    return ran


def _sent(sink: int, unsent: memoryview) -> memoryview:
    try:
        return unsent[os.write(sink, unsent[:CHUNK]) :]
    except BlockingIOError:
        return unsent
    except OSError:
        return unsent[len(unsent) :]  # nobody reads it


def _heard(number: int, held: bytearray, ran: Ran, limits: Limits, token: bytes) -> bool:
    """Take a piece of a stream; false at the end of it or of the cell."""
    piece = os.read(number, CHUNK)
    held += piece
    if not piece:
        ran.has_ended = True
        return False
    at = held.rfind(token + b" ") if token else -1
    if at >= 0 and held.endswith(b"\n"):
        with suppress(ValueError):
            ran.status = int(held[at + len(token) : -1])
        del held[at:]
    else:
        at = -1
    if len(held) > limits.output_bytes + (len(token) + 8 if token else 0):
        ran.reason = Ended.TOO_MUCH_OUTPUT
    if len(held) > limits.output_bytes and (at >= 0 or ran.reason or not token):
        ran.reason = Ended.TOO_MUCH_OUTPUT
        del held[limits.output_bytes :]
    return at < 0
