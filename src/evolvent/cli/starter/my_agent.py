"""An agent: the tool that it may call, and how an episode goes."""

from __future__ import annotations

import re

from evolvent import Answer, Message, Task, Toolbox
from evolvent.envs import World
from evolvent.rollouts.workflows import Team


def minutes(spans: str) -> str:
    """Add up spans of time, and return the sum in minutes.

    spans: such as 2h35+1h10
    """
    parts = re.findall(r"(\d+)h(\d+)", spans)
    if not parts:
        raise ValueError("write spans such as 2h35+1h10")
    return str(sum(60 * int(hours) + int(rest) for hours, rest in parts))


TOOLS = Toolbox((minutes,), max_calls=4)


async def agent(task: Task, team: Team, world: World) -> Answer:
    """Speak, run the calls, speak again: at most three times."""
    reply = await team["agent"].say(*task.prompt)
    for _ in range(2):
        if not reply.calls:
            break
        results = [await world.call("agent", call) for call in reply.calls]
        reply = await team["agent"].say(*(Message("tool", (result,)) for result in results))
    return Answer("" if reply.calls else reply.text.strip())
