"""Makes an environment behind OpenEnv's WebSocket a world: its tools where it has some, else one tool for plain words.

The wire is that of openenv-core 0.3 without the package: {"type": "reset" | "step" | "state" | "close" | "mcp", "data"}
is answered by {"type": "observation", "data": {observation, reward, done}}. A connection has an environment of its own,
and so has each episode. Needs the package websockets (extra `[worlds]`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from evolvent.envs.one_seat import OneSeat
from evolvent.envs.toolbox import SEAT, cut, explain
from evolvent.envs.world import WorldStep
from evolvent.errors import BadInput, InfrastructureError, MissingExtra, ToolError
from evolvent.records import Block, Message, Task, Text, Tool

KEY = "openenv"  # where a task keeps the arguments of its reset, in its private data
WORDS = ("text", "message", "prompt", "output", "content", "result")  # fields that hold what an agent should read
FATAL = ("CAPACITY_REACHED", "FACTORY_ERROR", "SESSION_ERROR")
MAX_MESSAGE_BYTES = 4 * 2**20


@dataclass(frozen=True)
class OpenEnv:
    """An OpenEnv server by its URL; `text_field` names the field of its actions in which the agent's words go.

    Mistakes that the server reports are observations; one that is full, hangs up or is silent for `timeout_s` is an
    InfrastructureError.
    """

    url: str
    text_field: str = "message"
    max_calls: int = 64
    max_bytes: int = 4096
    timeout_s: float = 60.0  # openenv-core's own message timeout
    start_timeout_s: float = 10.0  # and its connect timeout

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://", "ws://", "wss://")):
            raise BadInput(
                "not the URL of an OpenEnv server", got=self.url, wanted="http://HOST:PORT or ws://HOST:PORT"
            )

    @property
    def socket_url(self) -> str:
        """Where the WebSocket is."""
        base = self.url.rstrip("/")
        base = "ws" + base.removeprefix("http") if base.startswith("http") else base
        return base if base.endswith("/ws") else base + "/ws"

    def open(self, task: Task, seed: int) -> OpenedEnv:
        """A connection of its own for one episode; it is made when the world is entered."""
        named = task.private.data.get(KEY) if task.private else None
        return OpenedEnv(self, {"seed": seed % 2**31} if named is None else dict(named))


class OpenedEnv(OneSeat):
    """The live connection of one episode."""

    def __init__(self, plan: OpenEnv, reset: Mapping[str, Any]) -> None:
        super().__init__(plan.max_calls, plan.max_bytes)
        self._plan, self._reset = plan, reset
        self._socket: Any = None
        self._lock = asyncio.Lock()
        self._tools: tuple[Tool, ...] = ()
        self._first, self.total, self.num_steps, self.is_over = "", 0.0, 0, False

    async def __aenter__(self) -> Self:
        self._socket = await _connect(self._plan)
        try:
            self._first = self._noted(await self._ask("reset", self._reset))
            self.total = 0.0
            self._tools = await self._listed()
        except BaseException:
            await self._socket.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._socket.send(json.dumps({"type": "close"}))
        except Exception:  # it hung up first: nothing is left to be closed
            return
        finally:
            await self._socket.close()

    @property
    def offered(self) -> tuple[Tool, ...]:
        """The tools of the environment, else one for an action in words."""
        return self._tools or (_act(),)

    def observe(self, seat: str) -> tuple[Block, ...]:
        """What the environment showed at the beginning."""
        self.check(seat)
        return (Text(cut(self._first, self.max_bytes)),) if self._first else ()

    async def run(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Call a tool of the environment, or act in words."""
        if self._tools:
            return await self._act({"type": "call_tool", "tool_name": name, "arguments": dict(arguments)})
        return await self._act({self._plan.text_field: arguments.get("message", "")})

    async def step(self, actions: Mapping[str, Message]) -> Mapping[str, WorldStep]:
        """Run the calls of the agent's message; a message without a call is an action in words."""
        self.check(*actions)
        before, message = self.total, actions[SEAT]
        if message.calls:
            blocks: tuple[Block, ...] = tuple([await self.call(SEAT, call) for call in message.calls])
        else:
            try:
                blocks = (Text(cut(await self._act({self._plan.text_field: message.text}), self.max_bytes)),)
            except ToolError as error:
                blocks = (Text(f"error: {explain(error)}"),)
        return {SEAT: WorldStep(blocks, {"return": self.total - before}, done=self.is_over)}

    def evidence(self) -> dict[str, Any]:
        """The sum of the rewards, the number of steps, and whether the environment has ended."""
        return {"return": self.total, "num_steps": self.num_steps, "terminated": self.is_over}

    def snapshot(self) -> bytes:
        """BadInput: the state lies at the other end of the connection."""
        raise BadInput(
            "the state of an OpenEnv server cannot be kept",
            where=self._plan.url,
            cure="search over this world is not possible: play it from the start instead",
        )

    def restore(self, state: bytes) -> None:
        """BadInput, for the same reason."""
        self.snapshot()

    async def _act(self, action: Mapping[str, Any]) -> str:
        if self.is_over:
            raise ToolError("the episode is over", cure="answer now")
        words = self._noted(await self._ask("step", action))
        self.num_steps += 1
        return words

    def _noted(self, data: Mapping[str, Any]) -> str:
        """Keep reward and end; the words are left."""
        reward = data.get("reward")
        self.total += float(reward) if reward is not None else 0.0
        self.is_over = bool(data.get("done", False))
        return words_of(data.get("observation", {}))

    async def _listed(self) -> tuple[Tool, ...]:
        """The tools, where the environment has any: asked beside its steps, so that nothing moves."""
        asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
        try:
            told = (await self._ask("mcp", asked)).get("result") or {}
        except ToolError:  # a server that knows no such message has no tools
            return ()
        return tuple(
            Tool(one["name"], one.get("description") or "", one.get("input_schema") or one.get("inputSchema") or {})
            for one in told.get("tools", ())
        )

    async def _ask(self, kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """Send a message and wait for its answer: one at a time, since answers carry no name."""
        from websockets.exceptions import ConnectionClosed

        try:
            async with self._lock, asyncio.timeout(self._plan.timeout_s):
                with suppress(OSError, ConnectionClosed):  # a server that turned us away has said why, and closed
                    await self._socket.send(json.dumps({"type": kind, "data": dict(data)}))
                answer = json.loads(await self._socket.recv())
            found, data = answer["type"], answer.get("data") or {}
        except Exception as error:
            raise InfrastructureError(
                "the OpenEnv server broke", where=self._plan.url, got=f"{type(error).__name__}: {error}"
            ) from error
        if found != "error":
            return dict(data)
        code, words = data.get("code", ""), str(data.get("message", "no reason given"))
        if code in FATAL:
            raise InfrastructureError(f"the OpenEnv server refused: {words}", where=self._plan.url, got=code)
        raise ToolError(words)


async def _connect(plan: OpenEnv) -> Any:
    try:
        from websockets.asyncio.client import connect
    except ImportError as error:
        raise MissingExtra(
            "websockets is not installed", where=plan.url, got=str(error), cure="pip install 'evolvent[worlds]'"
        ) from error
    try:
        return await connect(plan.socket_url, open_timeout=plan.start_timeout_s, max_size=MAX_MESSAGE_BYTES)
    except Exception as error:
        raise InfrastructureError(
            "the OpenEnv server cannot be reached",
            where=plan.socket_url,
            got=f"{type(error).__name__}: {error}",
            cure="see that it is up, and that the URL is right",
        ) from error


def words_of(observation: Any) -> str:
    """What an observation says: its one field of words, else all of it as JSON, without what is meant for programs."""
    if not isinstance(observation, Mapping):
        return str(observation)
    if observation.get("error"):
        error = observation["error"]
        words = str(error.get("message", error)) if isinstance(error, Mapping) else str(error)
        raise ToolError(words.removeprefix("error: "))
    kept = {key: part for key, part in observation.items() if key not in ("metadata", "error", "tool_name")}
    if len(kept) == 1 and (name := next(iter(kept))) in WORDS:
        return _plain(kept[name])
    return json.dumps(kept, ensure_ascii=False) if kept else ""


def _plain(value: Any) -> str:
    """The words of a result, which MCP wraps in blocks."""
    if isinstance(value, Mapping) and isinstance(value.get("content"), list):
        if value.get("is_error") or value.get("isError"):
            raise ToolError("\n".join(str(block.get("text", "")) for block in value["content"]))
        return "\n".join(str(block.get("text", block)) for block in value["content"])
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _act() -> Tool:
    message = {"type": "string", "description": "the action in words"}
    parameters = {"type": "object", "properties": {"message": message}, "required": ["message"]}
    return Tool("act", "Take one action and see what comes of it.", parameters)
