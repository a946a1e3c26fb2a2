import asyncio

import pytest

from evolvent.envs import Toolbox
from evolvent.envs.pool import Pooled
from evolvent.records import ToolCall
from evolvent.rollouts.play import play
from evolvent.rollouts.workflows import Answer

NUM = 10


class Barrier:
    """A tool that lets nobody through before `num` calls are inside."""

    def __init__(self, num):
        self.num, self.inside, self.__name__ = num, 0, "barrier"

    async def __call__(self) -> str:
        """Wait for the others."""
        self.inside += 1
        while self.inside < self.num:
            await asyncio.sleep(0.001)
        return "through"


@pytest.mark.parametrize("patience_s", [None, 0.0])
def test_one_that_waits_serialises_nobody_and_one_that_fails_kills_nobody(patience_s, puppet, stage, attempts):
    """One after the other none of them would ever get through."""
    plan = Pooled(Toolbox((Barrier(NUM),)), max_concurrent=NUM)

    async def workflow(task, team, world):
        await team["agent"].say(*task.prompt)
        result = await world.call("agent", ToolCall("barrier", {}))
        if task.task_id.endswith("-3"):
            raise OSError("the disk is gone")
        return Answer(result.text)

    episodes = play(attempts(NUM), stage(puppet, workflow=workflow, world=plan, patience_s=patience_s))
    assert [e.answer for e in episodes] == ["through"] * 3 + [""] + ["through"] * 6
    assert episodes[3].traces[0].fault.why == "the disk is gone"
    assert plan.counts.calls == NUM and plan.counts.now_running == 0
