"""Looks behind the curtain: a world opened on canaries in place of what is private must never sing them.

What an agent can do is call tools, so every tool is called: as the worked solution does, with arguments made from
its schema, with wrong ones, and by a name that does not exist. What Python objects could be reached from the tools is
looked at too; that is a warning, for an agent writes words and not Python, unless a tool runs what it writes.
"""

from __future__ import annotations

import asyncio
import functools
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

from evolvent.codec import to_json
from evolvent.envs.world import World, WorldPlan, evidence_of
from evolvent.records import Block, Message, Private, Task, Text, Tool, ToolCall, ToolResult, said
from evolvent.seeds import derive
from evolvent.synthesis.trust.verdict import Ledger

ANSWER, DATA = "canary-answer-", "canary-data-"
MAX_OBJECTS = 20_000
SAMPLES = {"string": "a", "integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}, "null": None}
OPAQUE = (types.ModuleType, type, str, bytes, int, float, bool, type(None), types.CodeType)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a rehearsal showed: every text in order, how the world was left, and the digest of its state."""

    texts: tuple[str, ...]
    evidence: str
    digest: str
    reachable: tuple[str, ...] = ()


def look_behind(world: WorldPlan, task: Task, seed: int, ledger: Ledger) -> None:
    """Open the world on canaries and call everything."""
    if task.private is None:
        return
    ledger.try_one("private")
    mark = f"{derive(seed, 'canary', task.task_id):016x}"
    calls = [call for message in task.private.solution for call in message.calls]
    for canaries in (everything(task.private, mark), answer_alone(task.private, mark)):
        try:
            seen = asyncio.run(show_all(world, replace(task, private=canaries), calls, seed))
        except Exception as error:  # a world that needs its private data cannot open on canaries
            broke = f"{type(error).__name__}: {error}"
            continue
        _tell(task, seen, mark, ledger)
        return
    ledger.warn("private", task, "the world does not open on another private part, so nothing was looked at", broke)


def everything(private: Private, mark: str) -> Private:
    """A private part in which every text is a canary that names its place."""
    data = {key: _replaced(value, f"{DATA}{mark}-{key}") for key, value in private.data.items()}
    return replace(answer_alone(private, mark), data=data)


def answer_alone(private: Private, mark: str) -> Private:
    """A private part with canaries for answer and solution, and its data as they were."""
    return replace(private, answer=ANSWER + mark, solution=(said("assistant", ANSWER + mark),))


def _tell(task: Task, seen: Seen, mark: str, ledger: Ledger) -> None:
    for text in seen.texts:
        if ANSWER + mark in text:
            ledger.fail("private", task, "a tool or observation shows the private answer", text)
        elif DATA + mark in text:
            ledger.warn("private", task, "a tool shows private data: see that it is state and no key", text)
    if any(ANSWER + mark in text for text in seen.reachable):
        ledger.warn("private", task, "the private answer can be reached from the live world by Python code")


async def show_all(plan: WorldPlan, task: Task, calls: Sequence[ToolCall], seed: int) -> Seen:
    """Everything that an agent can get to see of a world."""
    texts: list[str] = []
    async with plan.open(task, seed) as world:
        for seat in world.seats:
            texts += _texts(world.observe(seat))
            tools = world.tools(seat)
            texts += [f"{tool.name} {tool.description} {to_json(dict(tool.parameters))}" for tool in tools]
            for call in [*calls, *probes(tools)]:
                try:
                    texts.append((await world.call(seat, call)).text)
                except Exception as error:  # what it says would reach the agent or the log
                    texts.append(f"{type(error).__name__}: {error}")
        reachable = tuple(reach(_tools_of(world)))
    return Seen(tuple(texts), "", "", reachable)


async def rehearse(plan: WorldPlan, task: Task, seed: int, halfway: bool = False) -> Seen:
    """Do what the worked solution does; `halfway` goes on in a second world from a snapshot of the first."""
    actions = _actions(task)
    texts: list[str] = []
    async with plan.open(task, seed) as world:
        cut = len(actions) // 2 if halfway else len(actions)
        for message in actions[:cut]:
            texts += await _do(world, message)
        if not halfway:
            return Seen(tuple(texts), to_json(dict(await evidence_of(world))), _digest(world))
        state = world.snapshot()
        first = [text for message in actions[cut:] for text in await _do(world, message)]
        digest = _digest(world)
        async with plan.open(task, seed) as other:
            other.restore(state)
            second = [text for message in actions[cut:] for text in await _do(other, message)]
            return Seen(tuple(first), digest, "same" if (second, _digest(other)) == (first, digest) else str(second))


def probes(tools: Sequence[Tool]) -> list[ToolCall]:
    """Calls that fit the schema of each tool, that do not, and of a tool that does not exist."""
    made = [ToolCall("no_such_tool", {}), ToolCall("answer", {"task": "private"})]
    for tool in tools:
        properties: Mapping[str, Any] = tool.parameters.get("properties", {})
        made.append(ToolCall(tool.name, {name: sample(schema) for name, schema in properties.items()}))
        made.append(ToolCall(tool.name, dict.fromkeys(properties)))
        made.append(ToolCall(tool.name, {"private": "answer"}))
        made.append(ToolCall(tool.name, None, raw="{"))
    return made


def sample(schema: Mapping[str, Any]) -> Any:
    """A value that fits a schema, more or less."""
    if schema.get("enum"):
        return schema["enum"][0]
    if "default" in schema:
        return schema["default"]
    if schema.get("anyOf"):
        return sample(schema["anyOf"][0])
    return SAMPLES.get(str(schema.get("type", "string")), "a")


def reach(roots: Sequence[Any]) -> Iterator[str]:
    """The texts that Python code could reach from objects, not through modules, classes or a module's globals."""
    front: list[Any] = list(roots)
    seen: set[int] = set()
    while front and len(seen) < MAX_OBJECTS:
        thing = front.pop()
        if isinstance(thing, str):
            yield thing
        if id(thing) in seen or isinstance(thing, OPAQUE):
            continue
        seen.add(id(thing))
        front += _parts(thing)


def _parts(thing: Any) -> list[Any]:
    if isinstance(thing, Mapping):
        return [*thing.keys(), *thing.values()]
    if isinstance(thing, list | tuple | set | frozenset):
        return list(thing)
    if isinstance(thing, types.MethodType):
        return [thing.__self__]
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, thing.keywords]
    if isinstance(thing, types.FunctionType):
        cells = [cell.cell_contents for cell in thing.__closure__ or () if _is_filled(cell)]
        return [*cells, *(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()]
    slots = [getattr(thing, name, None) for name in getattr(type(thing), "__slots__", ()) or ()]
    fields = [getattr(thing, name, None) for name in getattr(thing, "__dataclass_fields__", ())]
    return [*getattr(thing, "__dict__", {}).values(), *slots, *(fields if is_dataclass(thing) else ())]


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - asking is what raises
    except ValueError:
        return False
    return True


def _tools_of(world: World) -> list[Any]:
    """Where tools live in an open world: its own attributes."""
    return list(getattr(world, "__dict__", {}).values())


def _replaced(value: Any, canary: str) -> Any:
    if isinstance(value, str):
        return canary
    if isinstance(value, Mapping):
        return {key: _replaced(part, f"{canary}.{key}") for key, part in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_replaced(part, canary) for part in value)
    return value


def _actions(task: Task) -> list[Message]:
    return list(task.private.solution) if task.private else []


async def _do(world: World, message: Message) -> list[str]:
    seat = (*world.to_move, *world.seats)[0]
    if message.calls:
        return [(await world.call(seat, call)).text for call in message.calls]
    seen = await world.step({seat: message})
    return [text for step in seen.values() for text in _texts(step.observation)]


def _texts(blocks: Sequence[Block]) -> list[str]:
    return [block.text for block in blocks if isinstance(block, Text | ToolResult)]


def _digest(world: World) -> str:
    try:
        return world.state_digest()
    except Exception:  # a world that cannot snapshot has no digest, and says so where it is asked for a snapshot
        return ""
