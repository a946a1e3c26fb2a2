"""Gives an answer again, byte for byte, while nothing can have changed, without a look into the database.

Many agents read the same few pages. What a route has kept is true until this process writes again; other processes
write too, so after `FRESH_S` one request looks, and the others are told what was true until then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

FRESH_S, STALE_S = 0.05, 1.0
MAX_BYTES, MAX_NUM = 32 * 2**20, 2_000
MARK = "evolvent.kept"
_Key = tuple[bytes, bytes, bytes, str]


class Kept(Response):
    """An answer that is the same for everybody, and out of date after a write or at a time that its route knows."""

    media_type = "application/json"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Say that it may be given again."""
        scope[MARK] = True
        await super().__call__(scope, receive, send)


@dataclass(frozen=True, slots=True)
class Given:
    """An answer as it was sent; `writes` and `at_s` are from before it was made."""

    writes: int
    at_s: float
    start: Message
    body: bytes

    async def send(self, send: Send) -> None:
        """Send it once more."""
        await send(self.start)
        await send({"type": "http.response.body", "body": self.body})


@dataclass(slots=True)
class Renewal:
    """An answer in the making."""

    key: _Key
    writes: int
    at_s: float
    done: asyncio.Event
    loop: asyncio.AbstractEventLoop
    start: Message | None = None
    body: bytes | None = None

    def hear(self, message: Message) -> None:
        """Note what is sent."""
        if message["type"] == "http.response.start":
            self.start = message
        elif not message.get("more_body") and self.body is None:
            self.body = message.get("body", b"")
        else:
            self.start = None  # it comes in parts


@dataclass
class Recent:
    """The answers that were given last; `count_writes` says how often this process has written."""

    count_writes: Callable[[], int]
    clock: Callable[[], float] = time.monotonic
    _given: dict[_Key, Given] = field(default_factory=dict)
    _open: dict[_Key, Renewal] = field(default_factory=dict)
    _num_bytes: int = 0

    async def find(self, scope: Scope) -> Given | None:
        """The answer to a request, if it can be given again; waits for one that another request is making."""
        key = _key(scope)
        while (given := self._given.get(key)) is not None:
            is_true, age_s = given.writes == self.count_writes(), self.clock() - given.at_s
            if is_true and age_s < FRESH_S:
                return given
            renewal = self._open.get(key)
            if renewal is None or renewal.loop is not asyncio.get_running_loop():
                return None
            if is_true and age_s < STALE_S:
                return given
            if renewal.writes != self.count_writes():
                return None
            await renewal.done.wait()
        return None

    @contextmanager
    def renew(self, scope: Scope) -> Iterator[Renewal]:
        """Make an answer; the block calls `hear` with all that is sent."""
        key = _key(scope)
        renewal = Renewal(key, self.count_writes(), self.clock(), asyncio.Event(), asyncio.get_running_loop())
        self._open[key] = renewal
        try:
            yield renewal
        finally:
            if self._open.get(key) is renewal:
                del self._open[key]
            self._keep(renewal, bool(scope.get(MARK)))
            renewal.done.set()

    def _keep(self, renewal: Renewal, is_kept: bool) -> None:
        old = self._given.pop(renewal.key, None)
        self._num_bytes -= len(old.body) if old else 0
        start, body = renewal.start, renewal.body
        if not is_kept or start is None or body is None or start["status"] != 200:
            return
        if self._num_bytes + len(body) > MAX_BYTES or len(self._given) >= MAX_NUM:
            self._given.clear()
            self._num_bytes = 0
        self._given[renewal.key] = Given(renewal.writes, renewal.at_s, start, body)
        self._num_bytes += len(body)


def _key(scope: Scope) -> _Key:
    """Everything of a request that its answer depends on."""
    host = next((value for name, value in scope["headers"] if name == b"host"), b"")
    return scope["raw_path"], scope["query_string"], host, scope["scheme"]


def is_asked_often(scope: Scope) -> bool:
    """Whether answers to such a request can be kept at all."""
    return bool(scope["method"] == "GET" and scope.get("raw_path") and scope["path"].startswith("/api/"))
