"""Serves worlds over OpenEnv's WebSocket: each connection draws tasks of its own by `reset`, and acts by `step`.

An action is {"type": "call_tool", "tool_name", "arguments"}, {"type": "list_tools"}, or words in {"message"}. Where a
world is stepped through by words, they are its next action; elsewhere they are the answer, which ends the episode and
gets the reward of the task's judge.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from evolvent.envs.one_seat import shown
from evolvent.envs.toolbox import SEAT
from evolvent.envs.world import World, WorldPlan, evidence_of
from evolvent.errors import BadInput, EvolventError
from evolvent.records import Task, ToolCall, said
from evolvent.rewards.outcome import judge_visit

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAX_MESSAGE_CHARS = 2**20
ACTION = {
    "anyOf": [
        {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]},
        {
            "type": "object",
            "properties": {
                "type": {"const": "call_tool"},
                "tool_name": {"type": "string"},
                "arguments": {"type": "object"},
            },
            "required": ["type", "tool_name"],
        },
        {"type": "object", "properties": {"type": {"const": "list_tools"}}, "required": ["type"]},
    ]
}


@dataclass(frozen=True)
class OpenEnvDoor:
    """What is served: worlds for the tasks that `draw` gives for a number, to so many connections at once."""

    world: WorldPlan
    draw: Callable[[int], Task]
    name: str = "evolvent"
    max_num: int = 64
    idle_timeout_s: float = 600.0


def make_openenv(door: OpenEnvDoor) -> FastAPI:
    """The app: /ws for programs, /health, /metadata and /schema for whoever looks."""
    app = FastAPI(title=door.name, docs_url=None, redoc_url=None, openapi_url=None)
    live: set[int] = set()
    numbers = itertools.count()

    @app.websocket("/ws")
    async def talk(socket: WebSocket) -> None:
        if not _is_near(socket):
            await socket.close(1008)
            return
        await socket.accept()
        number = next(numbers)
        if len(live) >= door.max_num:
            await _refuse(socket, f"{door.max_num} connections are open", "CAPACITY_REACHED")
            await socket.close()
            return
        live.add(number)
        try:
            async with AsyncExitStack() as stack:
                await _serve(socket, _Session(door, stack, number))
        finally:
            live.discard(number)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "healthy"}

    @app.get("/metadata")
    async def metadata() -> dict[str, str]:
        return {"name": door.name, "description": "a world of evolvent"}

    @app.get("/schema")
    async def schema() -> dict[str, Any]:
        shape = {"type": "object", "properties": {"text": {"type": "string"}}}
        return {"action": ACTION, "observation": shape, "state": {"type": "object"}}

    return app


async def _serve(socket: WebSocket, session: _Session) -> None:
    """Answer messages until the other side hangs up or falls silent."""
    try:
        while True:
            raw = await asyncio.wait_for(socket.receive_text(), session.door.idle_timeout_s)
            if (answer := await _answer(raw, session)) is None:
                break
            await socket.send_text(json.dumps(answer))
        await socket.close()
    except WebSocketDisconnect:
        return
    except TimeoutError:
        await _refuse(socket, f"silent for {session.door.idle_timeout_s:g} s", "SESSION_ERROR")
        await socket.close()


async def _answer(raw: str, session: _Session) -> dict[str, Any] | None:
    """The answer to one message; None to `close`."""
    try:
        asked = json.loads(raw) if len(raw) <= MAX_MESSAGE_CHARS else None
    except ValueError as error:
        return _error(f"Invalid JSON: {error}", "INVALID_JSON")
    if not isinstance(asked, dict) or not isinstance(asked.get("data", {}), dict):
        return _error("Invalid message", "VALIDATION_ERROR")
    kind, data = asked.get("type", ""), asked.get("data", {})
    if kind == "close":
        return None
    verbs = {"reset": session.reset, "step": session.step, "state": session.state, "mcp": session.mcp}
    if kind not in verbs:
        return _error(f"Unknown message type: {kind}", "UNKNOWN_TYPE")
    try:
        made = await verbs[kind](data)
    except BadInput as error:
        return _error(str(error), "VALIDATION_ERROR")
    except EvolventError as error:
        return _error(str(error), "SESSION_ERROR")
    except Exception as error:
        return _error(f"{type(error).__name__}: {error}", "EXECUTION_ERROR")
    return {"type": {"state": "state", "mcp": "mcp"}.get(kind, "observation"), "data": made}


@dataclass
class _Session:
    """One connection: the task at hand, its world, and how far it is."""

    door: OpenEnvDoor
    stack: AsyncExitStack
    number: int
    task: Task | None = None
    world: World | None = None
    episode_id: str = ""
    num_steps: int = 0
    is_over: bool = field(default=False)

    async def reset(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """A fresh world for the task of a seed; without one, of the connection's number."""
        seed = data.get("seed")
        if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or seed < 0):
            raise BadInput("a seed is a whole number from 0 on", where="reset", got=seed)
        key = self.number if seed is None else seed
        await self.stack.aclose()
        self.task = self.door.draw(key)
        self.world = await self.stack.enter_async_context(self.door.world.open(self.task, key))
        self.episode_id, self.num_steps, self.is_over = str(data.get("episode_id") or self.task.task_id), 0, False
        words = [self.task.question]
        words += [seen] if (seen := shown(self.world.observe(SEAT))) and seen not in words[0] else []
        return _observed({"text": "\n\n".join(words)})

    async def step(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """One action."""
        task, world = await self._at_hand()
        if data.get("type") == "list_tools":
            return _observed({"tools": self._tools(world)})
        if self.is_over:
            raise BadInput("the episode is over", where="step", cure="reset")
        self.num_steps += 1
        if data.get("type") == "call_tool":
            return await self._called(task, world, _call(data.get("tool_name"), data.get("arguments")))
        words = data.get("message", data.get("text"))
        if not isinstance(words, str):
            raise BadInput("not an action", where="step", got=sorted(data), wanted='{"message": "..."} or a call_tool')
        made = (await world.step({SEAT: said("assistant", words)}))[SEAT]
        self.is_over = made.done or made.truncated
        reward = sum(made.reward_components.values()) if made.reward_components else None
        return await self._ended(_observed({"text": shown(made.observation)}, reward, self.is_over), task, world, words)

    async def _called(self, task: Task, world: World, call: ToolCall) -> dict[str, Any]:
        before = getattr(world, "total", None)  # of worlds that pay as they go
        result = await world.call(SEAT, call)
        error = {"error_type": "execution_error", "message": result.text} if result.is_error else None
        called = {"tool_name": result.name, "result": None if error else result.text, "error": error}
        reward = None if before is None else getattr(world, "total", before) - before
        self.is_over = bool(getattr(world, "is_over", False))
        return await self._ended(_observed(called, reward, self.is_over), task, world, "")

    async def state(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """Which episode this is, and how many steps it has had."""
        return {"episode_id": self.episode_id, "step_count": self.num_steps}

    async def mcp(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """A request of MCP beside the steps: tools/list, tools/call."""
        _, world = await self._at_hand()
        method, params, head = data.get("method"), data.get("params") or {}, {"jsonrpc": "2.0", "id": data.get("id")}
        if method == "tools/list":
            return {**head, "result": {"tools": self._tools(world)}}
        if method == "tools/call":
            result = await world.call(SEAT, _call(params.get("name"), params.get("arguments")))
            content = [{"type": "text", "text": result.text}]
            return {**head, "result": {"content": content, "isError": result.is_error}}
        return {**head, "error": {"code": -32601, "message": f"Method not found: {method}"}}

    async def _at_hand(self) -> tuple[Task, World]:
        if self.world is None or self.task is None:
            await self.reset({})
        assert self.world is not None and self.task is not None
        return self.task, self.world

    def _tools(self, world: World) -> list[dict[str, Any]]:
        return [
            {"name": tool.name, "description": tool.description, "input_schema": dict(tool.parameters)}
            for tool in world.tools(SEAT)
        ]

    async def _ended(self, made: dict[str, Any], task: Task, world: World, answer: str) -> dict[str, Any]:
        """With the judge's reward once the episode is over, where the world has not given one itself."""
        if not made["done"] or made["reward"] is not None or task.private is None:
            return made
        score = judge_visit(task, answer, await evidence_of(world))
        return {**made, "reward": None if score is None else score.value}


def _call(name: Any, arguments: Any) -> ToolCall:
    if not isinstance(name, str):
        raise BadInput("a call names its tool", where="step", got=name, wanted="tool_name, a text")
    is_read = arguments is None or isinstance(arguments, dict)
    return ToolCall(name, arguments or {} if is_read else None, raw=json.dumps(arguments))


def _observed(observation: Mapping[str, Any], reward: float | None = None, done: bool = False) -> dict[str, Any]:
    return {"observation": dict(observation), "reward": reward, "done": done}


def _error(words: str, code: str) -> dict[str, Any]:
    return {"type": "error", "data": {"message": words, "code": code}}


async def _refuse(socket: WebSocket, words: str, code: str) -> None:
    await socket.send_text(json.dumps(_error(words, code)))


def _is_near(socket: WebSocket) -> bool:
    """Not a page of some other site that a browser on this machine has open."""
    origin = socket.headers.get("origin")
    host = urlsplit("//" + socket.headers.get("host", "")).hostname
    return host in LOOPBACK and (origin is None or urlsplit(origin).hostname in LOOPBACK)
