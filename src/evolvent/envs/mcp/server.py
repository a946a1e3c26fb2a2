"""Offers the tools of worlds as an MCP server: one world in memory or over stdio, a fresh world per session over HTTP.

Names, schemas and error words are those of `World.tools` and `World.call`. A server of one world serves one client:
whoever connects acts in that world. Over HTTP only clients that open a session are served: the revision 2026-07-28 of
the protocol has none there, and a world needs somebody to belong to. Newer clients fall back by themselves.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evolvent.envs.one_seat import shown
from evolvent.envs.toolbox import SEAT
from evolvent.envs.world import World
from evolvent.errors import BadInput, EvolventError
from evolvent.records import ToolCall

if TYPE_CHECKING:
    import mcp_types
    from mcp.server import Server, ServerRequestContext

    Context = ServerRequestContext[Any, Any]

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]
MAX_BODY_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Sessions:
    """How many clients may hold a world at once, and how long one may be silent before it loses its world."""

    max_num: int = 64
    idle_timeout_s: float = 600.0


def as_server(world: World, seat: str = SEAT, *, name: str = "evolvent", question: str = "") -> Server[Any]:
    """The tools of one open world; `Client(as_server(world))` talks to it in memory. The world stays the caller's."""
    if not world.tools(seat):
        raise BadInput("a world without tools has nothing to serve", where=type(world).__name__, wanted="one or more")
    words = "\n\n".join(part for part in (question, shown(world.observe(seat))) if part)
    lock = asyncio.Lock()

    async def the_world(_: Context) -> tuple[World, asyncio.Lock]:
        return world, lock

    return _server(the_world, seat, name, words)


async def serve_stdio(world: World, seat: str = SEAT, *, name: str = "evolvent", question: str = "") -> None:
    """Serve one open world to the program at the other end of stdin and stdout, until it hangs up."""
    from mcp.server.stdio import stdio_server

    server = as_server(world, seat, name=name, question=question)
    async with stdio_server() as (reads, writes):
        await server.run(reads, writes, server.create_initialization_options())


def as_app(
    open_world: Callable[[], World], sessions: Sessions, seat: str = SEAT, *, name: str = "evolvent", question: str = ""
) -> App:
    """An ASGI app that speaks streamable HTTP at /mcp: each session gets a world of its own, closed when it ends."""

    async def own_world(context: Context) -> tuple[World, asyncio.Lock]:
        # the SDK keeps what belongs to a session on its connection, and shows handlers no other way to it
        connection = context.session._connection
        lock = connection.state.setdefault("lock", asyncio.Lock())
        async with lock:
            if "world" not in connection.state:
                connection.state["world"] = await connection.exit_stack.enter_async_context(open_world())
        return connection.state["world"], lock

    app = _server(own_world, seat, name, question).streamable_http_app(
        max_sessions=sessions.max_num,
        session_idle_timeout=sessions.idle_timeout_s,
        max_request_body_size=MAX_BODY_BYTES,
    )
    return _WithSession(app)


def _server(
    find: Callable[[Context], Awaitable[tuple[World, asyncio.Lock]]], seat: str, name: str, words: str
) -> Server[Any]:
    import mcp_types as types
    from mcp.server import Server
    from mcp.shared.exceptions import MCPError

    async def found(context: Context) -> tuple[World, asyncio.Lock]:
        try:
            return await find(context)
        except EvolventError as error:
            raise MCPError(types.INTERNAL_ERROR, str(error)) from error

    async def list_tools(context: Context, _: object) -> mcp_types.ListToolsResult:
        world, _lock = await found(context)
        offered = [
            types.Tool(name=tool.name, description=tool.description, input_schema=dict(tool.parameters))
            for tool in world.tools(seat)
        ]
        return types.ListToolsResult(tools=offered)

    async def call_tool(context: Context, asked: mcp_types.CallToolRequestParams) -> mcp_types.CallToolResult:
        world, lock = await found(context)
        try:
            async with lock:  # a client may call twice at once, and a world takes one action after another
                result = await world.call(seat, ToolCall(asked.name, asked.arguments or {}))
        except EvolventError as error:
            raise MCPError(types.INTERNAL_ERROR, str(error)) from error
        return types.CallToolResult(content=[types.TextContent(text=result.text)], is_error=result.is_error)

    return Server(name, instructions=words or None, on_list_tools=list_tools, on_call_tool=call_tool)


class _WithSession:
    """Lets through what belongs to a session; a request of a revision without sessions learns which ones have them."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[..., Any]) -> None:
        from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

        headers = scope.get("headers", ()) if scope["type"] == "http" else ()
        asked = next((value.decode("latin-1") for key, value in headers if key == b"mcp-protocol-version"), None)
        if asked is None or asked in HANDSHAKE_PROTOCOL_VERSIONS:
            await self.app(scope, receive, send)
            return
        body = json.dumps(_refusal(await _request_id(receive), asked, list(HANDSHAKE_PROTOCOL_VERSIONS))).encode()
        kind = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 400, "headers": kind})
        await send({"type": "http.response.body", "body": body})


def _refusal(request_id: Any, asked: str, supported: list[str]) -> dict[str, Any]:
    from mcp_types import UNSUPPORTED_PROTOCOL_VERSION

    words = "a world needs a session: open one with initialize, at a version that has them"
    data = {"supported": supported, "requested": asked}
    error = {"code": UNSUPPORTED_PROTOCOL_VERSION, "message": words, "data": data}
    return {"jsonrpc": "2.0", "id": request_id, "error": error}


async def _request_id(receive: Callable[[], Awaitable[Any]]) -> Any:
    body, is_whole = b"", False
    while not is_whole and len(body) <= MAX_BODY_BYTES:
        part = await receive()
        body, is_whole = body + part.get("body", b""), not part.get("more_body", False)
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found.get("id") if isinstance(found, dict) else None
