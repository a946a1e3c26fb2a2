"""The door of sessions: agents from outside reach, over HTTP on loopback, the seats that were set up for them.

One server in a thread of its own serves all sessions of the process; what they ask is carried out in the event loop
that plays their episode.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import itertools
import os
import secrets
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from evolvent.envs.world import World
from evolvent.errors import BadInput
from evolvent.policies.wire import tools_to_wire
from evolvent.records import ToolCall, ToolResult
from evolvent.rollouts.gateway import Asked, Session
from evolvent.seeds import derive
from evolvent.serve.app import make_app
from evolvent.serve.desk import Ear
from evolvent.serve.door import background
from evolvent.serve.meters import Meters
from evolvent.serve.refusals import Missing, read_json, refusal
from evolvent.serve.reply import Opening, Reply, count_tokens
from evolvent.serve.request import ChatRequest, TextRequest
from evolvent.serve.spelling import Spelling

_retry: ContextVar[tuple[bool, str]] = ContextVar("retry", default=(False, ""))


@dataclass(frozen=True, slots=True)
class _Held:
    """An open session: where its episode is played, the world that its agent may call, the keys it has used."""

    session: Session
    loop: asyncio.AbstractEventLoop
    world: World | None
    keys: set[str] = field(default_factory=set)


class SessionDesk:
    """Answers requests of sessions, any model name they give; outside of one there is nobody to ask."""

    model_name = "agent"

    def __init__(self) -> None:
        self.meters = Meters()
        self._held: dict[str, _Held] = {}
        self._numbers = itertools.count()
        self._started_ns = time.time_ns()
        self.meters.gauges = {"evolvent_sessions": ("Sessions that are open.", lambda: len(self._held))}

    def facts(self) -> dict[str, Any]:
        """See Desk; weights change while the door stays open, so each answer tells its own version."""
        return {"version": 0}

    @contextlib.contextmanager
    def admit(self, session: Session, world: World | None = None) -> Iterator[str]:
        """The name of a session that is open as long as the block lasts; nobody could guess it."""
        name = secrets.token_urlsafe(18)
        self._held[name] = _Held(session, asyncio.get_running_loop(), world)
        try:
            yield name
        finally:
            del self._held[name]

    async def answer(self, asked: ChatRequest | TextRequest, session: str | None, ear: Ear | None) -> Reply:
        """See Desk."""
        held = self._find(session)
        if isinstance(asked, TextRequest):
            cure = "ask .../v1/chat/completions"
            raise BadInput("a session holds a conversation, not bare text", where="prompt", cure=cure)
        _note_sampling(held.session, asked)
        renderer = held.session.seat.renderer
        _refuse_missing_ids(asked, renderer is not None)
        words = Asked(asked.messages, asked.tools, asked.max_tokens, asked.stops, asked.num_choices)
        said = await _there(held, held.session.answer(words, is_retry=_is_retry(held)))
        opening = Opening(
            asked=asked,
            answer_id=f"chatcmpl-{derive(self._started_ns, next(self._numbers)):016x}",
            created_s=int(time.time()),
            prompts=(said.prompt_ids,),
            spelling=Spelling(renderer) if renderer is not None else None,
        )
        reply = Reply(opening, said.completions, said.messages)
        for kind, num in zip(("prompt", "completion"), count_tokens(reply), strict=True):
            self.meters.tokens.add(num, kind)
        return reply

    def tools(self, session: str) -> list[dict[str, Any]]:
        """The tools of the world that the task is set in, in OpenAI's form."""
        held = self._find(session)
        return tools_to_wire(held.world.tools(held.session.seat.name)) if _has_tools(held) and held.world else []

    def calls(self, session: str) -> list[dict[str, Any]]:
        """What was recorded of each answered call so far, by its call id; the tokens stand in the turn it names."""
        return [asdict(call) for call in self._find(session).session.calls]

    async def call(self, session: str, name: str, arguments: object) -> ToolResult:
        """Run a tool of the world; the agent's mistake comes back as a result."""
        held = self._find(session)
        if held.world is None or not _has_tools(held):
            raise Missing("this task has no tools", param="name", code="tool_not_found")
        if not isinstance(arguments, dict):
            raise BadInput("arguments are a JSON object", where="body", got=type(arguments).__name__)
        result: ToolResult = await _there(held, held.world.call(held.session.seat.name, ToolCall(name, arguments)))
        return result

    def _find(self, session: str | None) -> _Held:
        if session is None:
            cure = "use the base URL that the agent was given, as it is: .../sessions/NAME/v1"
            raise Missing("no session was named", param="session", code="session_not_found", cure=cure)
        if session not in self._held:
            words = "there is no such session: it is over, or never was"
            raise Missing(words, param="session", code="session_not_found")
        return self._held[session]


def make_gateway(desk: SessionDesk) -> FastAPI:
    """The app: what agents of a session may ask a model, and the tools of their world under /sessions/NAME/tools."""
    app = make_app(desk)
    app.add_middleware(_Retries)

    @app.get("/sessions/{session}/tools")
    async def tools(session: str) -> Response:
        try:
            return JSONResponse({"tools": desk.tools(session)})
        except Exception as error:
            return refusal(error)

    @app.get("/sessions/{session}/calls")
    async def calls(session: str) -> Response:
        try:
            return JSONResponse({"calls": desk.calls(session)})
        except Exception as error:
            return refusal(error)

    @app.post("/sessions/{session}/tools/{name}")
    async def call(session: str, name: str, request: Request) -> Response:
        try:
            result = await desk.call(session, name, read_json(await request.body() or b"{}"))
            return JSONResponse({"name": result.name, "text": result.text, "is_error": result.is_error})
        except Exception as error:
            return refusal(error)

    return app


@dataclass(frozen=True, slots=True)
class Gateway:
    """The door of this process: its address, without a session, and the desk behind it."""

    url: str
    desk: SessionDesk

    def base_url(self, session: str) -> str:
        """What an agent is given: all that it ever knows."""
        return f"{self.url}/sessions/{session}/v1"


def open_gateway() -> Gateway:
    """The door of this process, opened at the first call and closed at its end."""
    return _open(os.getpid())


@functools.cache
def _open(process_id: int) -> Gateway:
    desk, stack = SessionDesk(), contextlib.ExitStack()
    url = stack.enter_context(background(make_gateway(desk)))
    atexit.register(stack.close)
    return Gateway(url, desk)


class _Retries:
    """Notes for whoever answers whether a client says that it sends a request again."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            count = headers.get("x-stainless-retry-count", "0")
            _retry.set((count.isdecimal() and int(count) > 0, headers.get("idempotency-key", "")))
        await self.app(scope, receive, send)


def _is_retry(held: _Held) -> bool:
    says_so, key = _retry.get()
    was_seen = bool(key) and key in held.keys
    held.keys.add(key)
    return says_so or was_seen


async def _there(held: _Held, work: Any) -> Any:
    """What the work comes to in the loop of the episode; given up there where it is given up here."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, held.loop))


def _has_tools(held: _Held) -> bool:
    return held.world is not None and held.session.seat.name in held.world.seats


def _note_sampling(session: Session, asked: ChatRequest) -> None:
    """Who trains or measures decides how its policy is sampled; an agent that asks for something else is told of."""
    how = session.seat.how
    for name, plain in (("temperature", 1.0), ("top_p", 1.0), ("top_k", 0)):
        wanted, given = getattr(asked, name), getattr(how, name)
        if wanted not in (plain, given):
            session.note(f"the agent asked for {name} {wanted:g}; this run samples with {name} {given:g}")
    if asked.seed is not None:
        session.note("the agent asked for a seed; the random stream of a run belongs to its task and turn")


def _refuse_missing_ids(asked: ChatRequest, has_ids: bool) -> None:
    if asked.num_top:
        raise BadInput("top_logprobs are not kept in a session", where="top_logprobs", cure="leave them out")
    if (asked.wants_ids or asked.wants_logprobs) and not has_ids:
        field_ = "return_token_ids" if asked.wants_ids else "logprobs"
        raise BadInput("this policy gives no token ids", where=field_, cure="leave it out, or use local weights")
