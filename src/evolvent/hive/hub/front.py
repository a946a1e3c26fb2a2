"""What every request passes first: its size, its time, and a line in the numbers of the server."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evolvent.hive.hub.recent import Recent, Renewal, is_asked_often

MAX_BODY_BYTES = 2**20
MAX_ARCHIVE_BYTES = 300 * 2**20
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
    """Gives answers again that are still true, refuses bodies that are too large, counts; git has limits of its own."""

    def __init__(self, app: ASGIApp, meters: Meters, recent: Recent) -> None:
        self.app, self.meters, self.recent = app, meters, recent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"].startswith("/git/"):
            await self.app(scope, receive, send)
            return
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
        """Let the app answer, unless what it would have to read is too much."""
        most = MAX_ARCHIVE_BYTES if scope["path"] == "/api/tasks" else MAX_BODY_BYTES
        length = Headers(scope=scope).get("content-length", "0")
        taken = 0

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
