"""A world of tools for one agent: plain functions to call, with caps on calls, bytes and time."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from evolvent.envs.tools import as_tool, pick, tool_name, validate
from evolvent.envs.world import WorldStep
from evolvent.errors import BadInput, EvolventError, InfrastructureError, ToolError
from evolvent.records import Block, Message, Task, Tool, ToolCall, ToolResult

SEAT = "agent"


@dataclass(frozen=True)
class Toolbox:
    """Functions as tools: plain or async, or an object with `__call__`, or one with `open(task, seed)` that remembers.

    An observation longer than `max_bytes` keeps its head and its tail. A function returns anything that can be shown,
    or a ToolResult to say itself that it failed. A plain one runs where it is called: make it quick, or make it async;
    `timeout_s` bounds async ones, except one with a `timeout_s` of its own. What `open` returns is fresh for each
    episode, sees the task without its private part, and may have `snapshot`, `restore` and `close`.
    """

    functions: tuple[Callable[..., Any] | Any, ...]
    max_calls: int = 16  # turns of ReTool's training script, arXiv:2504.11536
    max_bytes: int = 512
    timeout_s: float = 5.0  # ReTool's evaluator

    def __post_init__(self) -> None:
        names = [tool_name(function) for function in self.functions]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise BadInput(f"two tools are called {twice[0]!r}", got=names, cure="give one of them another name")
        if self.max_calls < 0 or self.max_bytes < 1 or self.timeout_s <= 0:
            raise BadInput("the caps of a toolbox must be positive", got=self)

    def open(self, task: Task, seed: int) -> OpenToolbox:
        """A fresh toolbox for one episode."""
        public = replace(task, private=None)
        live = tuple(f.open(public, seed) if hasattr(f, "open") else f for f in self.functions)
        return OpenToolbox(self, live, tuple(map(hasattr, self.functions, ["open"] * len(self.functions))))


class OpenToolbox:
    """The live toolbox of one episode."""

    seats: tuple[str, ...] = (SEAT,)
    to_move: tuple[str, ...] = (SEAT,)

    def __init__(self, plan: Toolbox, functions: Sequence[Callable[..., Any]], remembers: Sequence[bool]) -> None:
        self._plan = plan
        self._tools = tuple(as_tool(function) for function in functions)
        self._functions = {tool.name: function for tool, function in zip(self._tools, functions, strict=True)}
        self._memories = {
            tool.name: function for tool, function, does in zip(self._tools, functions, remembers, strict=True) if does
        }
        self._num_calls = 0

    async def __aenter__(self) -> OpenToolbox:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for memory in self._memories.values():
            closed = memory.close() if hasattr(memory, "close") else None
            if inspect.isawaitable(closed):
                await closed

    def observe(self, seat: str) -> tuple[Block, ...]:
        """Nothing: the prompt of the task says all."""
        self._check(seat)
        return ()

    def tools(self, seat: str) -> tuple[Tool, ...]:
        """The tools that the agent may call."""
        self._check(seat)
        return self._tools

    async def step(self, actions: Mapping[str, Message]) -> Mapping[str, WorldStep]:
        """Run the calls of the agent's message, in order; a message without a call ends the world."""
        self._check(*actions)
        calls = actions[SEAT].calls
        results = tuple([await self.call(SEAT, call) for call in calls])
        return {SEAT: WorldStep(results, done=not calls)}

    async def call(self, seat: str, call: ToolCall) -> ToolResult:
        """Run one tool; whatever goes wrong is an observation, unless something outside the agent broke."""
        self._check(seat)
        self._num_calls += 1
        try:
            if self._num_calls > self._plan.max_calls:
                raise ToolError(f"no calls left: {self._plan.max_calls} is the limit", cure="answer now")  # noqa: TRY301
            answer = await self._run(call)
            text, is_error = _shown(answer), isinstance(answer, ToolResult) and answer.is_error
        except InfrastructureError:
            raise
        except Exception as error:
            text, is_error = f"error: {explain(error)}", True
        return ToolResult(call.name, cut(text, self._plan.max_bytes), is_error)

    def snapshot(self) -> bytes:
        """The number of calls and the state of the tools that remember."""
        tools = {name: base64.b64encode(_able(name, m, "snapshot")()).decode() for name, m in self._memories.items()}
        return json.dumps({"num_calls": self._num_calls, "tools": tools}, sort_keys=True).encode()

    def restore(self, state: bytes) -> None:
        """Go back to a snapshot."""
        found = json.loads(state)
        self._num_calls = int(found["num_calls"])
        for name, text in found["tools"].items():
            _able(name, self._memories[name], "restore")(base64.b64decode(text))

    def state_digest(self) -> str:
        """SHA-256 of the state."""
        return hashlib.sha256(self.snapshot()).hexdigest()

    async def _run(self, call: ToolCall) -> object:
        if call.arguments is None:
            raise ToolError(f"cannot read the call {call.raw!r}", cure=f"write {_example(self._tools)}")
        tool = pick(self._tools, call.name)
        validate(tool, call.arguments)
        answer = self._functions[tool.name](**call.arguments)
        if not inspect.isawaitable(answer):
            return answer
        if hasattr(self._functions[tool.name], "timeout_s"):
            return await answer
        try:
            return await asyncio.wait_for(answer, self._plan.timeout_s)
        except TimeoutError as error:
            raise ToolError(f"{tool.name} took longer than {self._plan.timeout_s:g} s") from error

    def _check(self, *seats: str) -> None:
        if seats != (SEAT,):
            raise BadInput("a toolbox has one seat", got=", ".join(seats), wanted=SEAT)


def explain(error: BaseException) -> str:
    """An error in one line for an agent: what, and the cure."""
    if isinstance(error, EvolventError):
        wanted = f" (wanted {error.wanted})" if error.wanted is not None else ""
        return error.what + wanted + (f"; {error.cure}" if error.cure else "")
    words = str(error)
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def cut(text: str, max_bytes: int) -> str:
    """At most `max_bytes` of UTF-8: the head and the tail, with the number of bytes left out between them."""
    data = text.encode("utf-8", "replace")
    if len(data) <= max_bytes:
        return data.decode()
    room = max_bytes - len(_gap(len(data)))
    if room < 2:
        return data[:max_bytes].decode(errors="ignore")
    head = data[: (room + 1) // 2].decode(errors="ignore")
    tail = data[len(data) - room // 2 :].decode(errors="ignore")
    num_left_out = len(data) - len(head.encode()) - len(tail.encode())
    return head + _gap(num_left_out) + tail


def _gap(num_bytes: int) -> str:
    return f"...[{num_bytes} bytes left out]..."


def _shown(answer: object) -> str:
    if isinstance(answer, str | ToolResult):
        return answer if isinstance(answer, str) else answer.text
    if isinstance(answer, Mapping | list | tuple):
        return json.dumps(answer, ensure_ascii=False, default=str)
    return str(answer)


def _example(tools: Sequence[Tool]) -> str:
    if not tools:
        return "an answer: there are no tools"
    tool = tools[0]
    arguments = {name: schema.get("type", "value") for name, schema in tool.parameters["properties"].items()}
    return json.dumps({"name": tool.name, "arguments": arguments})


def _able(name: str, memory: Any, verb: str) -> Callable[..., Any]:
    found = getattr(memory, verb, None)
    if found is None:
        raise BadInput(
            f"tool {name} remembers and cannot {verb}",
            got=type(memory).__name__,
            wanted=f"a method {verb}",
            cure="search over this world is not possible: play it from the start instead",
        )
    return found  # type: ignore[no-any-return]
