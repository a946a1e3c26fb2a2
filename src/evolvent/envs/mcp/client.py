"""Makes the tools of an external MCP server the tools of a world: one connection, and one server process, per episode.

A connection of its own for each episode is what keeps episodes apart: a server may remember what was called, and only
a fresh process or session is known to remember nothing. A program is started under `minder.py`, which ends it with all
that it started when the episode, or our own process, ends in whatever way.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from evolvent.envs.one_seat import OneSeat
from evolvent.errors import BadInput, EvolventError, InfrastructureError, MissingExtra, ToolError, nearest
from evolvent.records import Task, Tool

if TYPE_CHECKING:
    import mcp_types
    from mcp import Client

MINDER = Path(__file__).with_name("minder.py")
MAX_TOOLS = 256
NUM_STARTING = 4
_GATES: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}
LONGEST_S = 300.0  # a response stream may stay silent this long; each call has its own, shorter limit
LAST_WORDS = 400  # bytes of what a program said on stderr


@dataclass(frozen=True)
class McpTools:
    """The tools of an MCP server: a program that speaks over its pipes, or the URL of streamable HTTP.

    `allow` names the tools on offer (none named: all). A program sees the environment variables called in `env`, which
    keep their values out of the plan, and those spelled out in `settings`; `token_env` names the variable that holds
    the bearer token of a URL. A call that takes too long or that the server refuses is an observation; a server that
    does not start, hangs up or breaks its protocol is an InfrastructureError.
    """

    command: tuple[str, ...] = ()
    url: str = ""
    allow: tuple[str, ...] = ()
    env: tuple[str, ...] = ("PATH", "HOME", "LANG")
    settings: Mapping[str, str] = field(default_factory=dict)
    cwd: str = ""
    token_env: str = ""
    max_calls: int = 16  # as many as a Toolbox allows
    max_bytes: int = 4096
    timeout_s: float = 5.0
    start_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        if bool(self.command) == bool(self.url):
            raise BadInput("an MCP server is a program or a URL", got=self, wanted="command=(...) or url=, one of them")
        if self.max_calls < 0 or self.max_bytes < 1 or min(self.timeout_s, self.start_timeout_s) <= 0:
            raise BadInput("the caps of MCP tools must be positive", got=self)

    @property
    def label(self) -> str:
        """Where the server is, in words."""
        return self.url or " ".join(self.command)

    def open(self, task: Task, seed: int) -> OpenMcpTools:
        """A connection of its own for one episode; it is made when the world is entered."""
        return OpenMcpTools(self)


class OpenMcpTools(OneSeat):
    """The live connection of one episode."""

    def __init__(self, plan: McpTools) -> None:
        super().__init__(plan.max_calls, plan.max_bytes)
        self._plan = plan
        self._tools: tuple[Tool, ...] = ()
        self._client: Client | None = None
        self._leave = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        # the SDK wants to be entered and left by one task, and cancels that task when a transport breaks:
        # a keeper takes both upon itself, so that the episode only ever sees errors of its own calls
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            async with _gate():
                self._keeper = asyncio.create_task(self._keep(ready))
                await asyncio.wait_for(ready, self._plan.start_timeout_s)
        except TimeoutError as error:
            await self._stop(in_a_hurry=True)
            raise InfrastructureError(
                "the MCP server did not answer in time",
                where=self._plan.label,
                wanted=f"its tools within {self._plan.start_timeout_s:g} s",
                cure="raise start_timeout_s, or start it by hand to see what it waits for",
            ) from error
        except BaseException:
            await self._stop(in_a_hurry=True)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop(in_a_hurry=False)

    @property
    def offered(self) -> tuple[Tool, ...]:
        """The tools that the server has and the plan allows."""
        return self._tools

    async def run(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Have the server run a tool."""
        from mcp.shared.exceptions import MCPError

        if self._client is None:
            raise InfrastructureError("the MCP server has not been started", where=self._plan.label)
        try:
            result = await self._client.call_tool(name, dict(arguments), read_timeout_seconds=self._plan.timeout_s)
        except MCPError as error:
            raise self._as_fault(error, name) from error
        except Exception as error:
            raise _broke(self._plan, error) from error
        if result.is_error:
            raise ToolError(_words(result).removeprefix("error: "))
        return _words(result)

    def snapshot(self) -> bytes:
        """BadInput: the state lies at the other end of the connection."""
        raise BadInput(
            "the state of an MCP server cannot be kept",
            where=self._plan.label,
            cure="search over this world is not possible: play it from the start instead",
        )

    def restore(self, state: bytes) -> None:
        """BadInput, for the same reason."""
        self.snapshot()

    async def _keep(self, ready: asyncio.Future[None]) -> None:
        """Connect, stay until it is time to leave, hang up."""
        try:
            async with AsyncExitStack() as stack:
                self._client = await connect(self._plan, stack)
                self._tools = _allowed(self._plan, await _listed(self._client))
                if not ready.done():
                    ready.set_result(None)
                await self._leave.wait()
        except Exception as error:
            if not ready.done():  # afterwards every call says by itself that the connection is closed
                inner = _innermost(error)
                ready.set_exception(inner if isinstance(inner, EvolventError) else _broke(self._plan, inner))
        finally:
            self._client = None

    async def _stop(self, in_a_hurry: bool) -> None:
        if self._keeper is None:
            return
        self._leave.set()
        if in_a_hurry:
            self._keeper.cancel()
        await asyncio.wait({self._keeper})

    def _as_fault(self, error: Any, name: str) -> EvolventError:
        """The agent's mistake where the server says so or took too long; else something outside it broke."""
        import mcp_types as types

        if error.code == types.REQUEST_TIMEOUT:
            return ToolError(f"{name} took longer than {self._plan.timeout_s:g} s")
        if error.code in (types.INVALID_PARAMS, types.METHOD_NOT_FOUND):
            return ToolError(error.message)
        return _broke(self._plan, error)


def _gate() -> asyncio.Semaphore:
    """Lets a few servers start at a time: hundreds of episodes begin together, and would all be late together."""
    for loop in [loop for loop in _GATES if loop.is_closed()]:
        del _GATES[loop]
    return _GATES.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(NUM_STARTING))


async def connect(plan: McpTools, stack: AsyncExitStack) -> Client:
    """A client that is connected as long as the stack is open."""
    try:
        import httpx2
        from mcp import Client, StdioServerParameters
        from mcp.client.stdio import stdio_client
        from mcp.client.streamable_http import streamable_http_client
    except ImportError as error:
        raise MissingExtra(
            "mcp is not installed", where=plan.label, got=str(error), cure="pip install 'evolvent[worlds]'"
        ) from error
    if plan.url:
        token = os.environ.get(plan.token_env, "") if plan.token_env else ""
        if plan.token_env and not token:
            raise BadInput("the token of an MCP server is not set", where=plan.url, got=f"no ${plan.token_env}")
        headers = {"Authorization": f"Bearer {token}"} if token else None
        http = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(LONGEST_S)))
        return await stack.enter_async_context(Client(streamable_http_client(plan.url, http_client=http)))
    said = stack.enter_context(tempfile.TemporaryFile("w+"))  # noqa: SIM115 - the stack closes it
    names = ",".join([*plan.env, *plan.settings])
    given = {name: os.environ[name] for name in plan.env if name in os.environ} | dict(plan.settings)
    minded = ["-I", "-S", str(MINDER), names, str(os.getpid()), *plan.command]
    program = StdioServerParameters(command=sys.executable, args=minded, env=given, cwd=plan.cwd or None)
    try:
        return await stack.enter_async_context(Client(stdio_client(program, errlog=said)))
    except Exception as error:
        raise _broke(plan, error, _last_words(said)) from error


async def _listed(client: Client) -> list[mcp_types.Tool]:
    found: list[mcp_types.Tool] = []
    cursor = None
    while len(found) <= MAX_TOOLS:
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        cursor = page.next_cursor
        if cursor is None:
            return found
    raise InfrastructureError("an MCP server offers too many tools", got=f"{len(found)} and more", wanted=MAX_TOOLS)


def _allowed(plan: McpTools, listed: list[mcp_types.Tool]) -> tuple[Tool, ...]:
    names = [tool.name for tool in listed]
    if absent := [name for name in plan.allow if name not in names]:
        raise BadInput(f"the MCP server has no tool {absent[0]!r}", where=plan.label, cure=nearest(absent[0], names))
    return tuple(
        Tool(tool.name, tool.description or "", {"properties": {}, "required": [], **tool.input_schema})
        for tool in listed
        if not plan.allow or tool.name in plan.allow
    )


def _words(result: mcp_types.CallToolResult) -> str:
    """What a tool answered as text; what is no text is named by its kind and size."""
    parts = [_part(block) for block in result.content]
    if not parts and result.structured_content is not None:
        return json.dumps(result.structured_content, ensure_ascii=False)
    return "\n".join(parts)


def _part(block: Any) -> str:
    if block.type == "text":
        return str(block.text)
    inner = getattr(block, "resource", block)
    if hasattr(inner, "text"):
        return str(inner.text)
    size = len(getattr(inner, "data", None) or getattr(inner, "blob", None) or "")
    return f"[{block.type} {getattr(inner, 'mime_type', None) or ''}, {size * 3 // 4} bytes]"


def _broke(plan: McpTools, error: BaseException, said: str = "") -> InfrastructureError:
    inner = _innermost(error)
    words = f"{type(inner).__name__}: {getattr(inner, 'message', inner)}"
    return InfrastructureError(
        "the MCP server broke",
        where=plan.label,
        got=f"{words}; it said: {said}" if said else words,
        cure="start it by hand: it must speak MCP over its pipes" if plan.command else "see that it is up, at /mcp",
    )


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _last_words(said: Any) -> str:
    said.flush()
    size = os.fstat(said.fileno()).st_size
    tail = os.pread(said.fileno(), LAST_WORDS, max(0, size - LAST_WORDS))
    return tail.decode(errors="replace").strip()
