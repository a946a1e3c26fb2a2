"""Collects the body of a request in a file, so that no process of git ever waits for a slow or vanished client."""

from __future__ import annotations

import asyncio
import tempfile
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from evolvent.hive.hub.refusals import Refused

Receive = Callable[[], Awaitable[Any]]
CHUNK, IDLE_S, WHOLE_S = 2**16, 30.0, 600.0


class Gone(Exception):
    """The client hung up."""


class Spool:
    """A body as far as it came: its file holds at most `most` bytes, `num_bytes` says how many there would be."""

    def __init__(self, file: IO[bytes], most: int, encoding: str) -> None:
        if encoding not in ("", "identity", "gzip", "x-gzip"):
            raise Refused(415, "this encoding is not known here", got=ascii(encoding)[:40], wanted="gzip, or none")
        self.file, self.num_bytes, self._most = file, 0, most
        self._unpack = zlib.decompressobj(31) if "gzip" in encoding else None

    async def fill(self, receive: Receive, patience: int) -> None:
        """Read to the end; what is beyond `most` is thrown away, and beyond `patience` times that refused at once."""
        async with asyncio.timeout(WHOLE_S):
            while True:
                message = await asyncio.wait_for(receive(), IDLE_S)
                if message["type"] == "http.disconnect":
                    raise Gone
                for chunk in self._plain(message.get("body", b"")):
                    self._write(chunk, patience)
                if not message.get("more_body", False):
                    break
        if self._unpack is not None and not self._unpack.eof:
            raise Refused(400, "the compressed body ends too early")
        self.file.flush()
        self.file.seek(0)

    def _write(self, chunk: bytes, patience: int) -> None:
        room = max(0, self._most - self.num_bytes)
        self.num_bytes += len(chunk)
        self.file.write(chunk[:room])
        if self.num_bytes > self._most * patience:
            raise Refused(413, "this is too large", wanted=f"at most {self._most} bytes")

    def _plain(self, data: bytes) -> Iterator[bytes]:
        if self._unpack is None:
            yield data
            return
        try:
            while data and not self._unpack.eof:
                yield self._unpack.decompress(data, CHUNK)
                data = self._unpack.unconsumed_tail
        except zlib.error:
            raise Refused(400, "the body is not compressed as it says") from None


@contextmanager
def open_spool(most: int, encoding: str) -> Iterator[Spool]:
    """A spool in a file without a name."""
    with tempfile.TemporaryFile() as file:
        yield Spool(file, most, encoding)
