"""A workflow for tasks that are told bit by bit: each answer is followed by what the user says next."""

from __future__ import annotations

from dataclasses import dataclass

from evolvent.envs.world import World
from evolvent.records import Message, Task, said
from evolvent.rollouts.workflows import Answer, Team

FOLLOW_UPS = "follow_ups"  # where a task keeps what its user will say, in its private data


@dataclass(frozen=True, slots=True)
class Conversation:
    """Answer the user, with tool calls on the way, then hear the next wish, until there is none left.

    A wish that is not answered within `max_turns` ends the episode without an answer.
    """

    max_turns: int = 20  # the leaderboard of bfcl-eval allows as many steps for each wish

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one episode."""
        agent, heard = team["agent"], task.prompt
        follow_ups = task.private.data.get(FOLLOW_UPS, ()) if task.private else ()
        answer = ""
        for wish in (None, *follow_ups):
            heard = heard if wish is None else (said("user", str(wish)),)
            for _ in range(self.max_turns):
                reply = await agent.say(*heard)
                if not reply.calls:
                    break
                results = [await world.call("agent", call) for call in reply.calls]
                heard = tuple(Message("tool", (result,)) for result in results)
            else:
                return Answer("")
            answer = reply.text.strip()
        return Answer(answer)
