import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from evolvent.envs import Toolbox, calc
from evolvent.errors import BadInput
from evolvent.plans import check
from evolvent.recipes import circle
from evolvent.records import said
from evolvent.rollouts.play import Pace, play
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import Answer


@dataclass(frozen=True)
class Slow:
    """A world whose tool, for the first task, waits until every other episode has ended."""

    num_others: int
    ended: list

    @asynccontextmanager
    async def open(self, task, seed):
        async with Toolbox((calc,)).open(task, seed) as world:
            self_call, others = world.call, self

            async def call(seat, asked):
                while task.task_id.endswith("-0") and len(others.ended) < others.num_others:
                    await asyncio.sleep(0.001)
                return await self_call(seat, asked)

            world.call = call
            yield world
            self.ended.append(task.task_id)


@pytest.mark.parametrize("patience_s", [0.0, 0.01])
def test_a_slow_tool_holds_up_nobody_else(patience_s, puppet, stage, attempts):
    world = Slow(3, [])
    pace = Pace()
    episodes = play(attempts(4), stage(puppet, world=world, patience_s=patience_s, pace=pace))
    assert [e.task.task_id[-1] for e in episodes] == ["0", "1", "2", "3"]
    assert world.ended[-1].endswith("-0")
    assert all(e.answer for e in episodes)
    assert 0 < pace.idle_share < 1


def test_patience_changes_nothing_that_is_said(nano, stage, attempts):
    async def talk(task, team, world):
        await team["agent"].say(*task.prompt, max_tokens=5)
        reply = await team["agent"].say(said("user", "more"), max_tokens=5)
        return Answer(reply.text or "nothing")

    how = {"workflow": talk, "world": Toolbox(()), "budgets": Budgets(9, 250, 60)}
    in_step, as_they_come = (
        play(attempts(3, 2), stage(nano, **how, patience_s=patience_s)) for patience_s in (None, 0.0)
    )
    for one, other in zip(in_step, as_they_come, strict=True):
        assert one.traces[0].tokens == other.traces[0].tokens


def test_a_policy_that_breaks_in_its_thread_breaks_the_play(puppet, stage, attempts):
    def breaks(prompt):
        raise BadInput("nothing to say")

    puppet.speak = breaks
    with pytest.raises(BadInput, match="nothing to say"):
        play(attempts(2), stage(puppet, patience_s=0.0))


def test_two_policies_speak_at_the_same_time(puppet, stage, attempts):
    """The one of a fast seat goes on while the other has not answered yet."""
    order = []

    async def both(task, team, world):
        async def one(seat, num):
            for _ in range(num):
                await team[seat].say(said("user", "1"))
                order.append(seat)

        await asyncio.gather(one("slow", 1), one("quick", 3))
        return Answer("done")

    @dataclass
    class Late:
        """Waits until the other one has spoken three times."""

        inner: object
        renderer: object
        name: str = "late"

        async def sample(self, prompts, how):
            while order.count("quick") < 3:
                await asyncio.sleep(0.001)
            return await self.inner.sample(prompts, how)

    late = Late(puppet, puppet.renderer)
    seats = {"slow": "late", "quick": "agent"}
    puppet.speak = lambda prompt: puppet.renderer.reply(said("assistant", "2"), prompt.tools)
    play(
        attempts(1),
        replace(stage(puppet, workflow=both, patience_s=0.0), policies={"agent": puppet, "late": late}, seats=seats),
    )
    assert order == ["quick"] * 3 + ["slow"]


def test_a_plan_refuses_a_patience_below_zero():
    with pytest.raises(BadInput, match="patience"):
        check(replace(circle.build(), patience_s=-1.0))
