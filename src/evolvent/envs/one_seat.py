"""What worlds with tools for one agent share: caps, errors as observations, one action per turn."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from evolvent.envs.toolbox import SEAT, cut, explain
from evolvent.envs.tools import pick
from evolvent.envs.world import WorldStep
from evolvent.errors import BadInput, InfrastructureError, ToolError
from evolvent.records import Block, Message, Text, Tool, ToolCall, ToolResult


class OneSeat(ABC):
    """A live world of one agent; a subclass says which tools there are, how one runs, and what its state is."""

    seats: tuple[str, ...] = (SEAT,)
    to_move: tuple[str, ...] = (SEAT,)

    def __init__(self, max_calls: int, max_bytes: int) -> None:
        self.max_calls, self.max_bytes, self.num_calls = max_calls, max_bytes, 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @property
    @abstractmethod
    def offered(self) -> tuple[Tool, ...]:
        """The tools that the agent may call."""

    @abstractmethod
    async def run(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Run a tool that exists; the agent's mistake is a ToolError."""

    @abstractmethod
    def snapshot(self) -> bytes:
        """The whole state; a world that cannot says so with BadInput."""

    @abstractmethod
    def restore(self, state: bytes) -> None:
        """Go back to a snapshot."""

    def state_digest(self) -> str:
        """SHA-256 of the state."""
        return hashlib.sha256(self.snapshot()).hexdigest()

    def observe(self, seat: str) -> tuple[Block, ...]:
        """Nothing: the prompt of the task says all."""
        self.check(seat)
        return ()

    def tools(self, seat: str) -> tuple[Tool, ...]:
        """The tools that the agent may call."""
        self.check(seat)
        return self.offered

    async def step(self, actions: Mapping[str, Message]) -> Mapping[str, WorldStep]:
        """Run the calls of the agent's message, in order; a message without a call ends the world."""
        self.check(*actions)
        calls = actions[SEAT].calls
        results = tuple([await self.call(SEAT, call) for call in calls])
        return {SEAT: WorldStep(results, done=not calls)}

    async def call(self, seat: str, call: ToolCall) -> ToolResult:
        """Run one tool; whatever goes wrong is an observation, unless something outside the agent broke."""
        self.check(seat)
        self.num_calls += 1
        try:
            if self.num_calls > self.max_calls:
                raise ToolError(f"no calls left: {self.max_calls} is the limit", cure="answer now")  # noqa: TRY301
            text, is_error = await self._ran(call), False
        except InfrastructureError:
            raise
        except Exception as error:
            text, is_error = f"error: {explain(error)}", True
        return ToolResult(call.name, cut(text, self.max_bytes), is_error)

    async def _ran(self, call: ToolCall) -> str:
        if call.arguments is None:
            raise ToolError(f"cannot read the call {call.raw!r}", cure='write {"name": ..., "arguments": {...}}')
        return await self.run(pick(self.offered, call.name).name, call.arguments)

    def check(self, *seats: str) -> None:
        """BadInput unless it is the one seat that is spoken of."""
        if seats != (SEAT,):
            raise BadInput("this world has one seat", got=", ".join(seats), wanted=SEAT)


def shown(blocks: tuple[Block, ...]) -> str:
    """What blocks say in words."""
    return "\n".join(block.text for block in blocks if isinstance(block, Text | ToolResult))
