"""Turns a header and some blobs into one message on a stream socket, and back; nothing is unpickled."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

_LENGTH = struct.Struct("<I")
_CHUNK = 2**16  # a larger buffer would be mapped and unmapped for each message


def put(sock: socket.socket, header: Mapping[str, Any], blobs: Sequence[bytes] = ()) -> None:
    """Send one message."""
    head = json.dumps({**header, "sizes": [len(blob) for blob in blobs]}).encode()
    sock.sendall(b"".join((_LENGTH.pack(len(head)), head, *blobs)))


def get(sock: socket.socket, deadline: float | None = None) -> tuple[dict[str, Any], list[bytes]]:
    """Receive one message by `deadline` (monotonic); EOFError where the other side is gone, TimeoutError if late."""
    data = bytearray()
    _fill(sock, data, _LENGTH.size, deadline)
    end = _LENGTH.size + _LENGTH.unpack_from(data)[0]
    _fill(sock, data, end, deadline)
    header = json.loads(bytes(data[_LENGTH.size : end]))
    _fill(sock, data, end + sum(header["sizes"]), deadline)
    blobs = []
    for size in header["sizes"]:
        blobs.append(bytes(data[end : end + size]))
        end += size
    return header, blobs


def _fill(sock: socket.socket, data: bytearray, size: int, deadline: float | None) -> None:
    while len(data) < size:
        if deadline is not None:
            sock.settimeout(max(deadline - time.monotonic(), 0.001))
        chunk = sock.recv(_CHUNK)
        if not chunk:
            raise EOFError("the other side is gone")
        data += chunk
