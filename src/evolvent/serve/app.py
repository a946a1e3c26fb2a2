"""An endpoint in OpenAI's form over a desk: chats, bare text, models; health, and metrics in Prometheus' form."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from evolvent.errors import BadInput
from evolvent.serve.desk import Desk
from evolvent.serve.guard import Guard
from evolvent.serve.meters import CONTENT_TYPE
from evolvent.serve.refusals import read_json, refusal, shaped
from evolvent.serve.reply import whole, whole_text
from evolvent.serve.request import ChatRequest, TextRequest, read_chat, read_text
from evolvent.serve.stream import Feed, events

SESSION = "X-Evolvent-Session"
GONE = 499
"""The status under which requests are counted whose client went away; nobody reads it."""

Read = Callable[[object], ChatRequest | TextRequest]
_Made = TypeVar("_Made")


def make_app(desk: Desk, *, key: str | None = None, max_body_bytes: int = 8 << 20) -> FastAPI:
    """The app; every path stands under /sessions/NAME as well. A `key` is asked for on all paths but /health."""
    app = FastAPI(title="evolvent", docs_url=None, redoc_url=None, openapi_url=None)
    door = _Door(desk)
    app.add_middleware(Guard, key=key, max_body_bytes=max_body_bytes, meters=desk.meters)
    for start in ("", "/sessions/{session}"):
        app.add_api_route(f"{start}/v1/chat/completions", door.chat, methods=["POST"])
        app.add_api_route(f"{start}/v1/completions", door.text, methods=["POST"])
        app.add_api_route(f"{start}/v1/models", door.models, methods=["GET"])
    app.add_api_route("/health", door.health, methods=["GET"])
    app.add_api_route("/metrics", door.metrics, methods=["GET"])
    app.add_exception_handler(HTTPException, _wrong_door)
    return app


class _Door:
    """The routes: from the bytes of a request to the bytes of its answer."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.meters = desk, desk.meters
        self.started_s = int(time.time())

    async def chat(self, request: Request) -> Response:
        return await self._timed(request, "chat", read_chat)

    async def text(self, request: Request) -> Response:
        return await self._timed(request, "text", read_text)

    async def models(self, request: Request) -> Response:
        facts = self.desk.facts()
        model = {"id": self.desk.model_name, "object": "model", "created": self.started_s, "owned_by": "evolvent"}
        if "max_context" in facts:
            model["max_model_len"] = facts["max_context"]  # as vLLM says it, so that clients know what fits
        return JSONResponse({"object": "list", "data": [model]})

    async def health(self, request: Request) -> Response:
        version = self.desk.facts().get("version", 0)
        return JSONResponse({"status": "ok", "model": self.desk.model_name, "version": version})

    async def metrics(self, request: Request) -> Response:
        return Response(self.meters.text(), media_type=CONTENT_TYPE)

    async def _timed(self, request: Request, route: str, read: Read) -> Response:
        start_s = time.perf_counter()
        response = await self._answered(request, route, read)
        self.meters.requests.add(1, route, str(response.status_code))
        if isinstance(response, _Stream):
            response.ended = lambda: self.meters.latency.observe(time.perf_counter() - start_s, route)
        elif response.status_code == 200:
            self.meters.latency.observe(time.perf_counter() - start_s, route)
        return response

    async def _answered(self, request: Request, route: str, read: Read) -> Response:
        """The response to a request, whatever is wrong with it."""
        body = await request.body()
        try:
            with self.meters.part("parse"):
                asked, session = read(read_json(body)), _session(request)
            if asked.streams:
                return await self._streamed(request, asked, session)
            reply = await _while_connected(request, self.desk.answer(asked, session, None))
            with self.meters.part("render"):
                made = whole(reply) if isinstance(asked, ChatRequest) else whole_text(reply)
                return JSONResponse(made, headers=_version(reply.version))
        except _Gone:
            return Response(status_code=GONE)
        except asyncio.CancelledError:  # nothing else cancels a request
            return JSONResponse(shaped("the server is ending", "server_error"), status_code=503)
        except Exception as error:
            return refusal(error)

    async def _streamed(self, request: Request, asked: ChatRequest | TextRequest, session: str | None) -> Response:
        """A stream, begun once its first token is there: what is refused before has a status of its own."""
        feed = Feed()
        answer = asyncio.ensure_future(self.desk.answer(asked, session, feed))
        answer.add_done_callback(feed.done)
        try:
            first = await _while_connected(request, feed.next())
            version = first[0].version if first else (await answer).version
        except BaseException:
            answer.cancel()
            raise
        return _Stream(events(feed, answer, first, self.meters), answer, _version(version))


class _Stream(StreamingResponse):
    """Events of an answer; when the client goes away, so does the answer."""

    def __init__(self, parts: AsyncIterator[str], answer: asyncio.Task[Any], headers: dict[str, str]) -> None:
        super().__init__(parts, media_type="text/event-stream", headers=headers)
        self.answer = answer
        self.ended: Callable[[], None] = lambda: None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with contextlib.suppress(asyncio.CancelledError):  # the server is ending: the stream breaks off
                await super().__call__(scope, receive, send)
            if self.answer.done():
                self.ended()
        finally:
            self.answer.cancel()


class _Gone(Exception):
    """The client went away."""


async def _while_connected(request: Request, work: Awaitable[_Made]) -> _Made:
    """What the work comes to; cancelled where the client goes away first."""
    doing, watching = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((doing, watching), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise _Gone
        return doing.result()
    finally:
        doing.cancel()
        watching.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _session(request: Request) -> str | None:
    """The session that the path or the header names; both may where they agree."""
    named = {request.path_params.get("session"), request.headers.get(SESSION)} - {None, ""}
    if len(named) > 1:
        raise BadInput("path and header name two sessions", where=SESSION, got=", ".join(sorted(map(str, named))))
    return str(named.pop()) if named else None


def _version(version: int) -> dict[str, str]:
    return {"X-Evolvent-Version": str(version)}


async def _wrong_door(request: Request, error: Any) -> Response:
    words = f"{request.method} {request.url.path}: {error.detail}"
    return JSONResponse(shaped(words, "invalid_request_error"), status_code=error.status_code)
