"""What every request passes first: its size, its time, and a line in the numbers of the server."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evolvent.hive.hub.doorway import MAX_BODY_BYTES, complain, room_for
from evolvent.hive.hub.recent import Recent, Renewal, is_asked_often

BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 30)


@dataclass
class Meters:
    """How many requests were answered with which status, and how long they took."""

    by_status: Counter[tuple[str, int]] = field(default_factory=Counter)
    by_bound: Counter[float] = field(default_factory=Counter)
    seconds: float = 0.0

    def note(self, method: str, status: int, took_s: float) -> None:
        """One more request."""
        self.by_status[method, status] += 1
        self.seconds += took_s
        for bound in BOUNDS:
            if took_s <= bound:
                self.by_bound[bound] += 1

    def text(self) -> str:
        """The numbers in Prometheus' form."""
        lines = ["# TYPE hive_requests_total counter"]
        for (method, status), num in sorted(self.by_status.items()):
            lines.append(f'hive_requests_total{{method="{method}",status="{status}"}} {num}')
        total = sum(self.by_status.values())
        lines.append("# TYPE hive_request_seconds histogram")
        lines += [f'hive_request_seconds_bucket{{le="{bound:g}"}} {self.by_bound[bound]}' for bound in BOUNDS]
        lines.append(f'hive_request_seconds_bucket{{le="+Inf"}} {total}')
        lines += [f"hive_request_seconds_sum {self.seconds:.6f}", f"hive_request_seconds_count {total}"]
        return "\n".join(lines) + "\n"


METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class Front:
    """Keeps foreign pages and large bodies out, gives answers again that are still true, counts; git has own limits."""

    def __init__(self, app: ASGIApp, meters: Meters, recent: Recent, hosts: Collection[str] = ()) -> None:
        self.app, self.meters, self.recent, self.hosts = app, meters, recent, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http" and (words := complain(scope["method"], Headers(scope=scope), self.hosts)):
            await JSONResponse({"detail": words}, status_code=403)(scope, receive, send)
            return
        if scope["type"] != "http" or scope["path"].startswith("/git/"):
            await self.app(scope, receive, send)
            return
        if scope["method"] == "HEAD" and not scope["path"].endswith("/events"):  # a stream has no end to wait for
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        start_s, status = time.perf_counter(), 500
        renewal: Renewal | None = None

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.setdefault("Referrer-Policy", "same-origin")
            if renewal is not None:
                renewal.hear(message)
            await send(message)

        try:
            if not is_asked_often(scope):
                await self._ask(scope, receive, note)
            elif given := await self.recent.find(scope):
                status = 200
                await given.send(send)
            else:
                with self.recent.renew(scope) as renewal:
                    await self._ask(scope, receive, note)
        finally:
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.meters.note(method, status, time.perf_counter() - start_s)

    async def _ask(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app answer, unless what it would have to read is too much, or no text at all."""
        if b"%00" in scope["query_string"] or "\0" in scope["path"]:
            await JSONResponse({"detail": "no address has the byte 0"}, status_code=400)(scope, receive, send)
            return
        headers = Headers(scope=scope)
        length, taken, most = headers.get("content-length", "0"), 0, MAX_BODY_BYTES
        if "transfer-encoding" in headers or not length.isdecimal() or int(length) > most:
            # who may send much is asked before it is read: what nobody may send would fill the disk
            most = await run_in_threadpool(room_for, Request(scope))

        async def watch() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            return message if taken <= most else {"type": "http.disconnect"}

        if length.isdecimal() and int(length) <= most:
            await self.app(scope, watch, send)
            return
        words = {"detail": f"the request is larger than {most} bytes"}
        await JSONResponse(words, status_code=413)(scope, receive, send)


def _without_body(send: Send) -> Send:
    async def drop(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return drop
