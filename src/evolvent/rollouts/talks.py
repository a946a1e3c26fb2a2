"""Teams as plain functions: whoever can write `await talk.turn(...)` needs no graph."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from evolvent.envs.world import World
from evolvent.records import Message, Task, said
from evolvent.rollouts.team import SaidBy, Talk, last_word, vote
from evolvent.rollouts.workflows import Answer, Team

MAX_SHOWN = 512  # characters of what a tool answers, as in MARTI's math chat
VERIFY, REFINE = "Is this right? Say yes or no.", "Give the final answer."


async def debate_twice(task: Task, team: Team, world: World) -> Answer:
    """Everybody answers, hears all others, and answers again; the last round votes."""
    talk = Talk(team)
    first = await asyncio.gather(*(talk.turn(seat, *task.prompt) for seat in team))
    told = {i: [k for k in first if k != i] for i in first}
    second = (
        talk.turn(seat, *(said("user", talk.words(k)) for k in told[i]), round=1, reads=told[i])
        for seat, i in zip(team, first, strict=True)
    )
    await asyncio.gather(*second)
    return talk.answer(vote)


async def generate_verify_refine(task: Task, team: Team, world: World) -> Answer:
    """One answers, one says whether that is right, and one who has heard both answers again."""
    talk = Talk(team)
    first = await talk.turn("generator", *task.prompt)
    verdict = await talk.turn("verifier", *task.prompt, _told(talk, first, ask=VERIFY), reads=(first,))
    both = (first, verdict)
    await talk.turn("refiner", *task.prompt, _told(talk, *both, ask=REFINE), reads=both)
    return talk.answer(last_word)


async def generate_and_verify(task: Task, team: Team, world: World) -> Answer:
    """One answers and one says whether that is right: the prover and the verifier of a game in which both learn."""
    talk = Talk(team)
    first = await talk.turn("generator", *task.prompt)
    await talk.turn("verifier", *task.prompt, _told(talk, first, ask=VERIFY), reads=(first,))
    return talk.answer(SaidBy("generator"))


async def propose_and_aggregate(task: Task, team: Team, world: World) -> Answer:
    """All seats but the aggregator answer side by side, and it answers having read them all."""
    talk = Talk(team)
    proposers = [seat for seat in team if seat != "aggregator"]
    first = await asyncio.gather(*(talk.turn(seat, *task.prompt) for seat in proposers))
    await talk.turn("aggregator", *task.prompt, _told(talk, *first, ask=REFINE), round=1, reads=first)
    return talk.answer(last_word)


@dataclass(frozen=True, slots=True)
class MathChat:
    """A solver, a coder that has heard it and may run tools, and a refiner that has heard both: MARTI's math chat.

    The coder sits where the world offers its tools. What a tool answers is cut to `max_shown` characters, and the
    coder's words with the last of these answers are what the refiner reads.
    """

    coder: str = "agent"
    max_calls: int = 3  # turns with tools, MARTI's default
    max_shown: int = MAX_SHOWN

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one episode."""
        talk, shown = Talk(team), list[str]()

        async def run(reply: Message) -> tuple[Message, ...]:
            if len(shown) >= self.max_calls:
                return ()
            results = [await world.call(self.coder, call) for call in reply.calls]
            results = [replace(result, text=result.text[: self.max_shown]) for result in results]
            shown.extend(result.text for result in results)
            return tuple(Message("tool", (result,)) for result in results)

        idea = await talk.turn("solver", *task.prompt)
        code = await talk.turn(self.coder, *task.prompt, _told(talk, idea), reads=(idea,), replies=run)
        heard = [_told(talk, idea, code), *(said("user", text) for text in shown[-1:])]
        await talk.turn("refiner", *task.prompt, *heard, reads=(idea, code))
        return talk.answer(last_word, shown=shown)


@dataclass(frozen=True, slots=True)
class Judged:
    """A seat answers, and a judge, mostly a frozen one, says how good that is: see `rewards.rated`."""

    seat: str = "agent"
    judge: str = "judge"
    ask: str = "Score this answer out of 10."

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one episode."""
        talk = Talk(team)
        answer = await talk.turn(self.seat, *task.prompt)
        await talk.turn(self.judge, *task.prompt, _told(talk, answer, ask=self.ask), reads=(answer,))
        return talk.answer(SaidBy(self.seat))


def _told(talk: Talk, *places: int, ask: str = "") -> Message:
    """What was said in some lines, and what is asked about it."""
    return said("user", "\n".join([*(talk.words(i) for i in places), *([ask] if ask else [])]))
