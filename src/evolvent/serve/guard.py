"""Stands before the app: asks for the key, keeps browsers of other sites out, and lets no body in that is too large."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any
from urllib.parse import urlsplit

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evolvent.serve.meters import Meters
from evolvent.serve.refusals import shaped

LOOPBACK = ("127.0.0.1", "localhost", "::1")
OPEN = ("/health",)
"""Paths that need no key: they tell that there is a server, and nothing else of worth."""


class Guard:
    """With a key, every path but /health needs it; without one, only programs of this machine are answered."""

    def __init__(self, app: ASGIApp, key: str | None, max_body_bytes: int, meters: Meters) -> None:
        self.app, self.max_body_bytes, self.meters = app, max_body_bytes, meters
        self.digest = None if key is None else _digest(key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may come in."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._refused(scope["path"], headers)
        if refused is not None:
            self.meters.requests.add(1, "door", str(refused.status_code))
            await refused(scope, receive, send)
            return
        await self.app(scope, _Measured(receive, self.max_body_bytes), send)

    def _refused(self, path: str, headers: Headers) -> JSONResponse | None:
        if self.digest is None and not _is_of_this_machine(headers):
            words = "this server asks for no key, so it answers programs of this machine only"
            return _error(403, words, "invalid_request_error", "foreign_origin")
        if self.digest is not None and path not in OPEN and not hmac.compare_digest(self.digest, _given(headers)):
            words = "the key is missing or wrong; send it as Authorization: Bearer KEY"
            return _error(401, words, "authentication_error", "invalid_api_key", {"WWW-Authenticate": "Bearer"})
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.max_body_bytes:
            return _error(413, too_large(self.max_body_bytes), "invalid_request_error", "body_too_large")
        return None


class _Measured:
    """A body that may not grow beyond its limit, for clients that do not say its length before."""

    def __init__(self, receive: Receive, most: int) -> None:
        self.receive, self.most, self.num = receive, most, 0

    async def __call__(self) -> Message:
        message = await self.receive()
        self.num += len(message.get("body", b""))
        if self.num > self.most:
            raise HTTPException(413, too_large(self.most))
        return message


def too_large(most: int) -> str:
    """The words for a body beyond the limit."""
    return f"the body is larger than {most} bytes"


def _is_of_this_machine(headers: Headers) -> bool:
    # a page of another site reaches loopback through the user's browser, under its own origin or a name of its own
    origin, host = headers.get("origin"), urlsplit("//" + headers.get("host", "")).hostname
    return host in LOOPBACK and (origin is None or urlsplit(origin).hostname in LOOPBACK)


def _given(headers: Headers) -> bytes:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return _digest(key.strip() if scheme.lower() == "bearer" else "")


def _digest(key: str) -> bytes:
    # of equal length whatever was sent, so that comparing tells nothing about the key
    return hashlib.sha256(key.encode()).digest()


def _error(status: int, words: str, kind: str, code: str, headers: dict[str, Any] | None = None) -> JSONResponse:
    return JSONResponse(shaped(words, kind, None, code), status_code=status, headers=headers)
