"""An answer put together from looked-up parts alone, with a way back out of dead ends and an honest failure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from evolvent.envs.corpus.lexical import split_words
from evolvent.envs.corpus.pairs import ANSWER_RETRIEVER, FINISH
from evolvent.envs.toolbox import SEAT
from evolvent.envs.world import World
from evolvent.records import Message, Task, ToolCall, ToolResult
from evolvent.rollouts.seat import Mark, Seat
from evolvent.rollouts.workflows import Answer, Team

SUCCESS, FAILED, CUT = "Success", "Failed", "cut off"


@dataclass(frozen=True, slots=True)
class Step:
    """One call on the way, with its result, and where the context stood before it."""

    call: ToolCall
    result: ToolResult
    before: Mark
    heard: tuple[Message, ...]

    @property
    def key(self) -> tuple[str, str]:
        """The tool and what it was called on."""
        return key_of(self.call)


@dataclass(slots=True)
class Walk:
    """Where an episode stands: the steps that hold, the calls that led nowhere, and all that was ever done."""

    task: Task
    steps: list[Step] = field(default_factory=list)
    dead: set[tuple[str, str]] = field(default_factory=set)
    log: list[dict[str, Any]] = field(default_factory=list)
    num_returns: int = 0

    @property
    def answers(self) -> list[str]:
        """What was read on the steps that hold."""
        return [s.result.text for s in self.steps if s.call.name == ANSWER_RETRIEVER.name and not s.result.is_error]


Teacher = Callable[[Walk], ToolCall]
"""The next call that a demonstration makes."""


class _Speak(Protocol):
    async def __call__(self, *heard: Message) -> Message: ...


@dataclass(frozen=True, slots=True)
class Decompose:
    """Look up, step by step, until `Finish`; on Failed the last step is taken back, at most `max_returns` times.

    In its place stands a note that the call returned nothing valid, and what was noted is not done again. An answer
    of words that were not read on the way is refused where `max_unread` is 0. Failing for good answers `failed`.
    """

    max_steps: int = 16
    max_returns: int = 8
    max_unread: float = 0.0
    failed: str = "unknown"

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one episode."""
        return await self.walk(Walk(task), team[SEAT], world, team[SEAT].say)

    async def walk(self, walk: Walk, seat: Seat, world: World, speak: _Speak) -> Answer:
        """Go on until an end, or until no step is left."""
        heard: tuple[Message, ...] = walk.task.prompt
        for _ in range(self.max_steps):
            before = seat.mark()
            message = await speak(*heard)
            call = message.calls[0] if message.calls else ToolCall("", None, message.text)
            ending = self._ending(call, walk)
            if ending == SUCCESS:
                return self._answer(str((call.arguments or {}).get("answer", "")), SUCCESS, walk)
            if ending == FAILED:
                if not walk.steps or walk.num_returns >= self.max_returns:
                    return self._answer(self.failed, FAILED, walk)
                heard = go_back(walk, seat)
                continue
            result = await self._carry_out(call, walk, world)
            walk.steps.append(Step(call, result, before, heard))
            walk.log.append(_line(call, result))
            heard = (Message("tool", (result,)),)
        return self._answer("", CUT, walk)

    def _ending(self, call: ToolCall, walk: Walk) -> str:
        """Success or Failed, where the call is an end that is let pass."""
        arguments = call.arguments or {}
        status = arguments.get("status") if call.name == FINISH.name else None
        if status == SUCCESS:
            return SUCCESS if unread(str(arguments.get("answer", "")), walk.answers) <= self.max_unread else ""
        return FAILED if status == FAILED else ""

    async def _carry_out(self, call: ToolCall, walk: Walk, world: World) -> ToolResult:
        if call.name == FINISH.name and (call.arguments or {}).get("status") == SUCCESS:
            return ToolResult(call.name, "error: the answer was not read on the way", is_error=True)
        if key_of(call) in walk.dead:
            return ToolResult(call.name, f"error: {note(call)}", is_error=True)
        return await world.call(SEAT, call)

    def _answer(self, text: str, status: str, walk: Walk) -> Answer:
        return Answer(
            text,
            {
                "status": status,
                "steps": walk.log,
                "read": walk.answers,
                "num_returns": walk.num_returns,
                "unread": unread(text, walk.answers) if status == SUCCESS else 0.0,
            },
        )


@dataclass(frozen=True, slots=True)
class DemonstrateDecompose:
    """Recite what a teacher does, dead ends and returns from them included; `plays` sets the rules."""

    teacher: Teacher
    plays: Decompose = Decompose()

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one demonstration; what the tools say is their own."""
        walk, seat = Walk(task), team[SEAT]

        async def recite(*heard: Message) -> Message:
            return seat.recite(Message("assistant", (self.teacher(walk),)), *heard)

        return await self.plays.walk(walk, seat, world, recite)


def go_back(walk: Walk, seat: Seat) -> tuple[Message, ...]:
    """Take the last step back: what is heard next is what was heard before it, and the note."""
    step = walk.steps.pop()
    walk.dead.add(step.key)
    walk.num_returns += 1
    last = len(walk.log) - 1 - [line["pruned"] for line in reversed(walk.log)].index(False)
    walk.log[last]["pruned"] = True
    seat.go_back(step.before)
    return (*step.heard, Message("tool", (ToolResult(step.call.name, note(step.call), is_error=True),)))


def note(call: ToolCall) -> str:
    """What stands in the place of a step that was taken back."""
    name, argument = key_of(call)
    return f"{name}({argument}) returned nothing valid"


def key_of(call: ToolCall) -> tuple[str, str]:
    """The tool of a call and what it was called on."""
    return call.name, ",".join(map(str, (call.arguments or {}).values())) if call.arguments is not None else call.raw


def unread(answer: str, read: Sequence[str]) -> float:
    """The share of an answer's words that no text read accounts for; an empty answer accounts for nothing."""
    traced = trace_words(answer, read)
    return sum(source is None for source in traced) / len(traced) if traced else 1.0


def trace_words(answer: str, read: Sequence[str]) -> list[int | None]:
    """For each word of an answer the text that it was read in, as part of the longest run of words found there."""
    words = split_words(answer)
    texts = [split_words(text) for text in read]
    traced: list[int | None] = []
    while len(traced) < len(words):
        start = len(traced)
        length, source = max(((_run(words[start:], text), -i) for i, text in enumerate(texts)), default=(0, 0))
        traced += [-source] * length if length else [None]
    return traced


def _run(words: Sequence[str], text: Sequence[str]) -> int:
    """How many of the first words stand in a text one after another."""
    best = 0
    for start in range(len(text)):
        length = 0
        while length < min(len(words), len(text) - start) and text[start + length] == words[length]:
            length += 1
        best = max(best, length)
    return best


def _line(call: ToolCall, result: ToolResult) -> dict[str, Any]:
    name, argument = key_of(call)
    return {"tool": name, "argument": argument, "returned": result.text, "pruned": False}
