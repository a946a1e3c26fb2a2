"""The process that starts fenced ones: a fresh `python -I -S` that has one thread and forks a leader for every call.

It imports no more of the project than its neighbours here, and holds nothing that the code could want.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from evolvent.envs.sandbox.landlock_files import remove

WAIT_S, LENGTH = 10.0, struct.Struct(">I")


def main() -> None:
    """Take connections from the control socket (argv: its number, the folder for working folders) until it ends."""
    control, home, parent = socket.socket(fileno=int(sys.argv[1])), sys.argv[2], os.getppid()
    _warm()
    leaders: set[int] = set()
    control.settimeout(1.0)
    control.sendall(b".")
    while os.getppid() == parent:
        leaders -= {pid for pid in leaders if _has_ended(pid)}
        try:
            word, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        except TimeoutError:
            continue
        except OSError:
            break
        if not word:
            break
        leaders.add(_lead(descriptors[0], control, home))
    _finish(leaders, home)


def send(link: socket.socket, header: Mapping[str, Any], blobs: Sequence[bytes] = ()) -> None:
    """One message: its header's length, the header as JSON, and bytes whose sizes that tells."""
    told = json.dumps({**header, "sizes": [len(b) for b in blobs]}).encode()
    link.sendall(b"".join((LENGTH.pack(len(told)), told, *blobs)))


def receive(link: socket.socket) -> tuple[dict[str, Any], list[bytes]]:
    """One message; EOFError where the other side has gone."""
    (num_bytes,) = LENGTH.unpack(_exactly(link, LENGTH.size))
    header = json.loads(_exactly(link, num_bytes))
    return header, [_exactly(link, num) for num in header.pop("sizes")]


def _exactly(link: socket.socket, num_bytes: int) -> bytes:
    held = bytearray(num_bytes)
    view, at = memoryview(held), 0
    while at < num_bytes:
        if not (num := link.recv_into(view[at:])):
            raise EOFError
        at += num
    return bytes(held)


def _warm() -> None:
    """Import what every call needs once, so that a fork has it."""
    import gc
    import linecache
    import traceback

    import evolvent.envs.sandbox.landlock_leader  # noqa: F401

    del linecache, traceback
    gc.freeze()


def _lead(descriptor: int, control: socket.socket, home: str) -> int:
    """A leader of its own for every connection; what it does wrong ends nothing else."""
    pid = os.fork()
    if pid:
        os.close(descriptor)
        return pid
    from evolvent.envs.sandbox.landlock_leader import lead

    status = 1
    try:
        control.close()
        lead(socket.socket(fileno=descriptor), home)
        status = 0
    finally:
        os._exit(status)


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _finish(leaders: set[int], home: str) -> None:
    """Leaders see the end of their connections themselves; one that does not is told."""
    deadline = time.monotonic() + WAIT_S
    for pid in leaders:
        with suppress(OSError):
            os.kill(pid, signal.SIGTERM)
    while leaders and time.monotonic() < deadline:
        leaders = {pid for pid in leaders if not _has_ended(pid)}
        time.sleep(0.005)
    remove(home)
