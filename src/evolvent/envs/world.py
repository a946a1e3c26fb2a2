"""What an agent may touch for one task: tools, state, and turns of several seats."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol

from evolvent.records import Block, Message, Task, Tool, ToolCall, ToolResult


@dataclass(frozen=True, slots=True)
class WorldStep:
    """What one action led to, for one seat: what is seen next, reward parts, and whether the world has ended."""

    observation: tuple[Block, ...]
    reward_components: Mapping[str, float] = field(default_factory=dict)
    done: bool = False
    truncated: bool = False
    info: Mapping[str, Any] = field(default_factory=dict)


class World(Protocol):
    """Made fresh for each episode and entered as an async context; same seed and actions give the same trace."""

    async def __aenter__(self) -> World: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def seats(self) -> tuple[str, ...]:
        """Who may act in this world."""
        ...

    @property
    def to_move(self) -> tuple[str, ...]:
        """The seats whose action is awaited; several means at the same time."""
        ...

    def observe(self, seat: str) -> tuple[Block, ...]:
        """What a seat sees before it acts."""
        ...

    def tools(self, seat: str) -> tuple[Tool, ...]:
        """The tools that a seat may call."""
        ...

    async def step(self, actions: Mapping[str, Message]) -> Mapping[str, WorldStep]:
        """Carry out one action per seat that was to move."""
        ...

    async def call(self, seat: str, call: ToolCall) -> ToolResult:
        """Run one tool for one seat; the agent's mistake comes back as a result with `is_error`."""
        ...

    def snapshot(self) -> bytes:
        """The whole state; a world that cannot says so with BadInput."""
        ...

    def restore(self, state: bytes) -> None:
        """Go back to a snapshot."""
        ...

    def state_digest(self) -> str:
        """SHA-256 of the state, equal exactly where two states are equal."""
        ...


class WorldPlan(Protocol):
    """A world as frozen data: `open` makes the live one for a task (random choices keyed by `seed`)."""

    def open(self, task: Task, seed: int) -> World:
        """A fresh world for one episode."""
        ...


async def evidence_of(world: World) -> Mapping[str, Any]:
    """What judges may read about how a world was left, as JSON values, where it has a method `evidence`; else nothing.

    It is taken once, when the workflow has ended (hidden tests run now, and end what the agent left running), and
    stored as the episode's `info`.
    """
    tell = getattr(world, "evidence", None)
    told = {} if tell is None else tell()
    return await told if inspect.isawaitable(told) else told
