from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.envs import Toolbox, calc
from evolvent.envs.toolbox import cut
from evolvent.errors import BadInput, InfrastructureError
from evolvent.records import Message, Origin, Private, Reference, Task, ToolCall, ToolResult, said

task = Task(
    "t", "sums", 1, (said("user", "2+2"),), Private("4"), Reference("evolvent.rewards.verify:exact"), Origin("hand")
)


def boom(kind: str) -> str:
    raise {"value": ValueError("no"), "deep": RecursionError(), "key": KeyError("k")}[kind]


def offline() -> str:
    raise InfrastructureError("the index is down")


async def slow(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


def long(num: int) -> str:
    return "é" * num


def table() -> dict[str, Any]:
    return {"a": [1, None]}


@dataclass(frozen=True)
class Counter:
    """A tool that remembers: its live twin counts."""

    name: str = "count"

    def open(self, task: Task, seed: int) -> Counting:
        return Counting(task, seed)


class Counting:
    name = "count"

    def __init__(self, task: Task, seed: int) -> None:
        self.task, self.total, self.is_closed = task, seed, False

    def __call__(self, by: int) -> int:
        """Add to a total."""
        self.total += by
        return self.total

    def snapshot(self) -> bytes:
        return str(self.total).encode()

    def restore(self, state: bytes) -> None:
        self.total = int(state)

    async def close(self) -> None:
        self.is_closed = True


@dataclass(frozen=True)
class Forgetful:
    name: str = "forget"

    def open(self, task: Task, seed: int) -> Any:
        return slow


def call(tool: str, **arguments: Any) -> ToolCall:
    return ToolCall(tool, arguments)


async def test_a_tool_answers() -> None:
    async with Toolbox((calc,)).open(task, 0) as world:
        assert world.seats == world.to_move == ("agent",)
        assert world.observe("agent") == ()
        assert [tool.name for tool in world.tools("agent")] == ["calc"]
        assert await world.call("agent", call("calc", expression="6*7")) == ToolResult("calc", "42")


async def test_answers_that_are_not_words_are_shown_as_json() -> None:
    async with Toolbox((table,)).open(task, 0) as world:
        assert (await world.call("agent", call("table"))).text == '{"a": [1, null]}'


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (call("calc", expression="47*"), "error: cannot read '47*': a number is missing at the end"),
        (call("calc", expression=3), 'write "3" in quotes'),
        (call("calc"), "calc needs 'expression'"),
        (call("cal", expression="1"), "there is no tool 'cal'; did you mean calc?"),
        (ToolCall("calc", None, '{"expression": 4'), 'cannot read the call \'{"expression": 4\'; write {"name"'),
        (call("boom", kind="value"), "error: ValueError: no"),
        (call("boom", kind="deep"), "error: RecursionError"),
        (call("boom", kind="none"), "error: KeyError: 'none'"),
        (call("slow", seconds=30), "slow took longer than 0.05 s"),
    ],
)
async def test_every_mistake_is_an_observation(made: ToolCall, words: str) -> None:
    async with Toolbox((calc, boom, slow), timeout_s=0.05).open(task, 0) as world:
        result = await world.call("agent", made)
        assert result.is_error
        assert words in result.text


async def test_a_broken_infrastructure_is_not_an_observation() -> None:
    async with Toolbox((offline,)).open(task, 0) as world:
        with pytest.raises(InfrastructureError):
            await world.call("agent", call("offline"))


async def test_calls_are_capped_and_the_cap_is_said() -> None:
    async with Toolbox((calc,), max_calls=2).open(task, 0) as world:
        results = [await world.call("agent", call("calc", expression="1")) for _ in range(3)]
    assert [result.is_error for result in results] == [False, False, True]
    assert results[2].text == "error: no calls left: 2 is the limit; answer now"


async def test_an_observation_keeps_its_head_and_tail() -> None:
    async with Toolbox((long,), max_bytes=100).open(task, 0) as world:
        text = (await world.call("agent", call("long", num=1000))).text
    assert len(text.encode()) <= 100
    assert text.startswith("éé")
    assert text.endswith("éé")
    assert "bytes left out" in text


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300), st.integers(1, 200))
def test_a_cut_text_never_exceeds_its_bytes_and_counts_what_it_left_out(text: str, max_bytes: int) -> None:
    got = cut(text, max_bytes)
    whole = text.encode("utf-8", "replace")
    assert len(got.encode()) <= max_bytes
    if len(whole) <= max_bytes:
        assert got == whole.decode()


async def test_a_step_runs_every_call_of_a_message() -> None:
    async with Toolbox((calc,)).open(task, 0) as world:
        message = Message("assistant", (call("calc", expression="1+1"), call("calc", expression="2+2")))
        step = (await world.step({"agent": message}))["agent"]
        assert [block.text for block in step.observation if isinstance(block, ToolResult)] == ["2", "4"]
        assert not step.done
        assert (await world.step({"agent": said("assistant", "4")}))["agent"].done


async def test_a_snapshot_brings_back_counters_and_memory() -> None:
    async with Toolbox((Counter(), calc), max_calls=3).open(task, 10) as world:
        await world.call("agent", call("count", by=1))
        state, digest = world.snapshot(), world.state_digest()
        first = await world.call("agent", call("count", by=5))
        assert world.state_digest() != digest
        world.restore(state)
        assert world.state_digest() == digest
        assert await world.call("agent", call("count", by=5)) == first
        assert json.loads(state)["num_calls"] == 1


async def test_what_remembers_is_fresh_per_episode_sees_no_answer_and_is_closed() -> None:
    plan = Toolbox((Counter(),))
    async with plan.open(task, 0) as one, plan.open(task, 0) as two:
        await one.call("agent", call("count", by=7))
        assert (await two.call("agent", call("count", by=1))).text == "1"
        memory = one._memories["count"]
        assert memory.task.private is None
    assert memory.is_closed


async def test_a_tool_that_remembers_and_cannot_snapshot_says_so() -> None:
    async with Toolbox((Forgetful(),)).open(task, 0) as world:
        with pytest.raises(BadInput, match="cannot snapshot"):
            world.snapshot()


async def test_fifty_toolboxes_run_side_by_side() -> None:
    async def one(number: int) -> str:
        async with Toolbox((calc, slow)).open(task, number) as world:
            await world.call("agent", call("slow", seconds=0.05))
            return (await world.call("agent", call("calc", expression=f"{number}*{number}"))).text

    assert await asyncio.gather(*map(one, range(50))) == [str(n * n) for n in range(50)]


def test_a_toolbox_is_data() -> None:
    plan = Toolbox((calc, Counter()), max_calls=4)
    assert from_json(to_json(plan)) == plan


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(BadInput, match="two tools are called 'calc'"):
        Toolbox((calc, calc))
