"""Bounds the head of a request in bytes and seconds: httptools alone reads and awaits headers without end."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 2**10  # as much as uvicorn's other parser takes
HEAD_S = 20.0


class BoundedHeads(HttpToolsProtocol):
    """Hangs up on who sends too long a head, or takes too long for it; bodies are the app's to bound."""

    _num_bytes, _num_new, _is_head = 0, 0, True
    _clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._clock = self.loop.call_later(HEAD_S, self.timeout_keep_alive_handler)

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._stop_clock()
        self._clock = self.loop.call_later(HEAD_S, self.timeout_keep_alive_handler)
        self._num_bytes, self._is_head = -self._num_new, True  # what came with the one before it is not counted

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self._stop_clock()
        self._is_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head that is not whole yet."""
        self._num_new = len(data)
        super().data_received(data)
        self._num_bytes += len(data)
        if self._is_head and self._num_bytes > MAX_HEAD_BYTES:
            self._stop_clock()
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_clock()
        super().connection_lost(exc)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
