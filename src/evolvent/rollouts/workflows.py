"""How an episode is played: plain async functions over a task, a team of seats and a world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evolvent.envs.world import World
from evolvent.errors import BadInput
from evolvent.records import Message, Task, said
from evolvent.rollouts.seat import Seat
from evolvent.seeds import stream

Team = Mapping[str, Seat]


@dataclass(frozen=True, slots=True)
class Answer:
    """What an episode hands to its judge: words, and what else its workflow found out, as JSON values."""

    text: str
    info: Mapping[str, Any] = field(default_factory=dict)


async def single(task: Task, team: Team, world: World) -> Answer:
    """One question, one answer, no tools."""
    reply = await team["agent"].say(*task.prompt)
    return Answer(reply.text.strip())


@dataclass(frozen=True, slots=True)
class ToolLoop:
    """Speak, have the calls carried out, speak again, until an answer comes without a call."""

    max_turns: int = 8

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one episode."""
        agent = team["agent"]
        reply = await agent.say(*task.prompt)
        for _ in range(self.max_turns - 1):
            if not reply.calls:
                break
            results = [await world.call("agent", call) for call in reply.calls]
            reply = await agent.say(*(Message("tool", (result,)) for result in results))
        return Answer("" if reply.calls else reply.text.strip())


tool_loop = ToolLoop()


@dataclass(frozen=True, slots=True)
class Demonstrate:
    """Recite a task's worked solution, or its bare answer where it has none.

    A share `direct_frac` of the tasks is answered at once, without tools.
    """

    direct_frac: float = 0.0

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one demonstration; tool results are the world's own."""
        if task.private is None:
            raise BadInput(
                "a task without its private part cannot be demonstrated",
                where=task.task_id,
                cure="use a source with answers, or cold_start=null",
            )
        agent = team["agent"]
        solution = task.private.solution or (said("assistant", task.private.answer),)
        if stream(0, "direct", task.task_id).random() < self.direct_frac:
            solution = (said("assistant", task.private.answer),)
        heard = task.prompt
        for message in solution:
            agent.recite(message, *heard)
            results = [await world.call("agent", call) for call in message.calls]
            heard = tuple(Message("tool", (result,)) for result in results)
        return Answer(solution[-1].text.strip())
