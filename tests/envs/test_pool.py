import asyncio
import time
from dataclasses import dataclass, field

import pytest

from evolvent.codec import from_json, to_json
from evolvent.envs import Toolbox, calc
from evolvent.envs.pool import Pooled
from evolvent.errors import BadInput
from evolvent.records import Message, Origin, Private, Reference, Task, Text, ToolCall, said

TASK = Task("t", "f", 1, (said("user", "?"),), Private("7"), Reference("evolvent.rewards:exact"), Origin("x"))


@dataclass
class Gate:
    """A tool that stays until it is let go, and counts who is inside."""

    name: str = "gate"
    inside: int = 0
    most: int = 0
    ended: list = field(default_factory=list)

    def open(self, task, seed):
        return OneGate(self)


class OneGate:
    def __init__(self, gate):
        self.gate, self.__name__ = gate, "gate"
        self.timeout_s = 99.0  # its own, so that the pool's deadline is the first

    async def __call__(self, wait: float) -> str:
        """Wait."""
        self.gate.inside += 1
        self.gate.most = max(self.gate.most, self.gate.inside)
        try:
            await asyncio.sleep(wait)
            return "through"
        finally:
            self.gate.inside -= 1
            self.gate.ended.append(wait)


def nap(seconds: float) -> str:
    """Sleep without telling the loop."""
    time.sleep(seconds)
    return f"slept {seconds}"


def fast(word: str) -> str:
    """Say it."""
    return word


def call(wait, name="gate", key="wait"):
    return ToolCall(name, {key: wait})


def world(*functions, **more):
    return Pooled(Toolbox(functions, max_calls=99), **more)


async def in_world(plan, *calls):
    async with plan.open(TASK, 0) as live:
        return [r.text for r in await asyncio.gather(*(live.call("agent", c) for c in calls))]


def test_so_many_calls_at_a_time_over_all_episodes():
    gate = Gate()
    plan = world(gate, max_concurrent=3)

    async def episodes():
        return await asyncio.gather(*(in_world(plan, call(0.01), call(0.01)) for _ in range(5)))

    assert asyncio.run(episodes()) == [["through"] * 2] * 5
    assert gate.most == 3 == plan.counts.most_running
    assert plan.counts.calls == 10 and plan.counts.now_running == 0
    assert plan.counts.waiting_s > 0, "seven of ten had to wait"


def test_a_call_that_takes_too_long_is_cancelled_and_the_agent_hears_so():
    gate = Gate()
    plan = world(gate, deadline_s=0.02)

    async def one():
        async with plan.open(TASK, 0) as live:
            return await live.call("agent", call(30))

    heard = asyncio.run(one())
    assert heard.is_error and heard.text == "error: gate timed out after 0.02 s"
    assert gate.ended == [30] and gate.inside == 0, "it was not only given up but ended"
    assert plan.counts.timeouts == 1 and plan.counts.now_running == 0


def test_waiting_for_a_place_is_not_held_against_a_call():
    plan = world(Gate(), max_concurrent=1, deadline_s=0.2)
    assert asyncio.run(in_world(plan, *[call(0.05)] * 8)) == ["through"] * 8, "together they take longer than one may"
    assert plan.counts.timeouts == 0


def test_what_an_episode_leaves_behind_ends_with_it():
    gate = Gate()
    plan = world(gate, max_concurrent=1)

    async def leave():
        async with plan.open(TASK, 0) as live:
            left = [asyncio.ensure_future(live.call("agent", call(30))) for _ in range(3)]
            await asyncio.sleep(0.01)
        return [task.cancelled() for task in left]

    assert asyncio.run(leave()) == [True] * 3
    assert gate.ended == [30] and plan.counts.cancelled == 3 and plan.counts.now_running == 0
    assert asyncio.run(in_world(plan, call(0))) == ["through"], "no place was lost, and a new loop finds the pool"


def test_a_waiter_that_gives_up_loses_nobody_a_place():
    plan = world(Gate(), max_concurrent=1)

    async def crowd():
        async with plan.open(TASK, 0) as live:
            calls = [asyncio.ensure_future(live.call("agent", call(0.01))) for _ in range(6)]
            await asyncio.sleep(0)
            for given_up in calls[1::2]:
                given_up.cancel()
            return await asyncio.gather(*calls, return_exceptions=True)

    ended = asyncio.run(crowd())
    assert [getattr(r, "text", None) for r in ended] == ["through", None] * 3
    assert plan.counts.now_running == 0


def test_calls_begin_at_the_rate_that_was_asked_for():
    plan = world(fast, calls_per_s=100)
    start = time.perf_counter()
    asyncio.run(in_world(plan, *[call("a", "fast", "word")] * 11))
    assert time.perf_counter() - start >= 0.1, "ten gaps of a hundredth"


def test_plain_tools_that_wait_go_on_side_by_side_in_threads():
    plan = world(nap, fast, in_threads=("nap",))

    async def both():
        async with plan.open(TASK, 0) as live:
            slow = asyncio.ensure_future(live.call("agent", call(0.2, "nap", "seconds")))
            await asyncio.sleep(0.01)
            quick = await live.call("agent", call("a", "fast", "word"))
            is_still_asleep = not slow.done()
            return quick.text, is_still_asleep, (await slow).text

    assert asyncio.run(both()) == ("a", True, "slept 0.2")


def test_a_thread_past_its_deadline_keeps_its_place_until_it_returns():
    plan = world(nap, max_concurrent=1, deadline_s=0.05, in_threads=("nap",))

    async def late():
        async with plan.open(TASK, 0) as live:
            heard = await live.call("agent", call(0.3, "nap", "seconds"))
            running = plan.counts.now_running
            again = await live.call("agent", call(0.0, "nap", "seconds"))
            return heard.text, running, again.text

    assert asyncio.run(late()) == ("error: nap timed out after 0.05 s", 1, "slept 0.0")
    assert plan.counts.now_running == 0


def test_steps_go_through_the_pool_too():
    plan = world(Gate(), deadline_s=0.02)

    async def act(*calls):
        async with plan.open(TASK, 0) as live:
            return (await live.step({"agent": Message("assistant", calls)}))["agent"]

    assert asyncio.run(act(call(0.0))).observation[0].text == "through"
    assert asyncio.run(act(call(30))).observation == (Text("error: the action timed out after 0.02 s"),)
    assert asyncio.run(act()).done, "no call, no place"


def test_the_inner_world_shows_through():
    plan = world(calc)

    async def look():
        async with plan.open(TASK, 0) as live:
            before = live.snapshot()
            await live.call("agent", ToolCall("calc", {"expression": "2+2"}))
            changed = live.state_digest()
            live.restore(before)
            return (
                [t.name for t in live.tools("agent")],
                live.seats,
                changed != live.state_digest(),
                live.observe("agent"),
            )

    assert asyncio.run(look()) == (["calc"], ("agent",), True, ())
    assert not hasattr(plan.open(TASK, 0), "evidence"), "a toolbox has none, so neither has the pool"


def test_equal_plans_share_a_pool_and_others_do_not():
    gate = Gate()
    one, same, other = world(gate), world(gate), world(gate, max_concurrent=2)
    asyncio.run(in_world(one, call(0)))
    assert (same.counts.calls, other.counts.calls) == (1, 0)
    assert "1 calls, 0 timed out" in str(same.counts)


def test_a_pool_goes_through_json_and_counts_on():
    plan = Pooled(Toolbox((calc,)), max_concurrent=5, in_threads=("calc",))
    again = from_json(to_json(plan))
    assert again == plan
    asyncio.run(in_world(plan, ToolCall("calc", {"expression": "1+1"})))
    assert again.counts.calls == 1


@pytest.mark.parametrize("wrong", [{"max_concurrent": 0}, {"deadline_s": 0}, {"calls_per_s": -1}])
def test_a_pool_of_nothing_is_refused(wrong):
    with pytest.raises(BadInput, match="a pool of nothing"):
        Pooled(Toolbox(()), **wrong)
