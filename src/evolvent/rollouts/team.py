"""Teams that talk: graphs of agents played as data, and the same as plain functions over the minutes of a talk."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from evolvent.envs.world import World
from evolvent.records import Message, Task, said
from evolvent.rollouts.graph import Graph, Step
from evolvent.rollouts.seat import BudgetSpent
from evolvent.rollouts.workflows import Answer, Team
from evolvent.seeds import stream

MOST_HEARD = 5  # answers of others that MARTI's debaters are shown at most


@dataclass(frozen=True, slots=True)
class Line:
    """One turn in the minutes: who said what in which round, and the numbers of the lines that it had read.

    `turns` are the places of its words in the trace of the seat: none where there was no room for a first token, and
    several where it called tools on the way. `depth` is 0 for whoever has read nobody, else one more than the deepest
    line that it read.
    """

    seat: str
    turns: tuple[int, ...]
    round: int
    depth: int
    words: str
    heard: tuple[int, ...] = ()
    was_cut: bool = False


Final = Callable[[Sequence[Line]], str]
"""The team's answer, from its minutes."""


Replies = Callable[[Message], Awaitable[tuple[Message, ...]]]
"""What is said to a reply before the turn is over; nothing ends it."""


def vote(lines: Sequence[Line]) -> str:
    """What most of the last round say; of a tie what was said first."""
    last = max(line.round for line in lines)
    return plurality([line.words for line in lines if line.round == last])


def vote_of_all(lines: Sequence[Line]) -> str:
    """What most of all turns say, as in MARTI's released chain."""
    return plurality([line.words for line in lines])


def last_word(lines: Sequence[Line]) -> str:
    """What was said last."""
    return lines[-1].words


@dataclass(frozen=True, slots=True)
class SaidBy:
    """What a seat said last: the answer of a generator, whatever its verifier says behind it."""

    seat: str

    def __call__(self, lines: Sequence[Line]) -> str:
        """The team's answer."""
        return next((line.words for line in reversed(lines) if line.seat == self.seat), "")


def plurality(answers: Sequence[str]) -> str:
    """The most frequent answer, whatever space is in it, of a tie the first; silence is no vote."""
    votes = Counter(" ".join(answer.split()) for answer in answers if answer.strip())
    return max(votes, key=lambda answer: votes[answer]) if votes else ""  # a Counter keeps the order of first sight


class Talk:
    """The minutes of one episode, in global order; a seat whose budget is spent falls silent, and the others go on."""

    def __init__(self, team: Team) -> None:
        self.team = team
        self.lines: dict[int, Line] = {}
        self._places = 0

    async def turn(
        self,
        seat: str,
        *heard: Message,
        round: int = 0,
        reads: Sequence[int] = (),
        place: int | None = None,
        replies: Replies | None = None,
    ) -> int:
        """Let a seat hear messages and speak; returns the number of its line.

        Where `replies` has something to say to its words, such as the results of its calls, it hears that too and
        speaks again, in the same line.
        """
        place = self._places if place is None else place
        self._places = max(self._places, place + 1)
        agent = self.team[seat]
        before, was_cut = len(agent.turns), False
        try:
            while heard:
                said_now = await agent.say(*heard)
                heard = () if replies is None else await replies(said_now)
        except BudgetSpent:
            was_cut = True
        turns = tuple(n for n in range(before, len(agent.turns)) if agent.turns[n].message.role == "assistant")
        words = agent.turns[turns[-1]].message.text.strip() if turns else ""
        depth = 1 + max((self.lines[i].depth for i in reads), default=-1)
        self.lines[place] = Line(seat, turns, round, depth, words, tuple(reads), was_cut)
        return place

    def words(self, place: int) -> str:
        """What a line says."""
        return self.lines[place].words

    def in_order(self) -> list[Line]:
        """The lines by number."""
        return [self.lines[place] for place in sorted(self.lines)]

    def answer(self, final: Final, **info: Any) -> Answer:
        """The team's answer with its minutes, for the judge."""
        lines = self.in_order()
        return Answer(final(lines), {"transcript": tuple(map(asdict, lines)), **info})


@dataclass(frozen=True, slots=True)
class Teamwork:
    """Plays a graph: each turn begins as soon as the turns that it reads are over, and so is slowed down by no other.

    A seat hears the question, then what it reads line by line in an order drawn for it, at most `most_heard` of them,
    and at last what `asks` says to it. `instead` gives for a task what is heard in place of each line: words of another
    problem tell how much talk is worth.
    """

    graph: Graph
    final: Final = vote
    asks: Mapping[str, str] = field(default_factory=dict)
    most_heard: int = MOST_HEARD
    instead: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one episode."""
        talk, script = Talk(team), self.graph.script()
        over: list[asyncio.Task[int]] = []
        try:
            for place, step in enumerate(script):
                before = [over[i] for i in ({*step.reads, step.own} if step.own is not None else step.reads)]
                over.append(asyncio.ensure_future(self._turn(task, talk, place, step, before)))
            await asyncio.gather(*over)
        finally:
            for one in over:
                one.cancel()
            await asyncio.gather(*over, return_exceptions=True)
        return talk.answer(self.final)

    async def _turn(self, task: Task, talk: Talk, place: int, step: Step, before: Sequence[asyncio.Task[int]]) -> int:
        await asyncio.gather(*before)
        reads = self.chosen(task, step, talk.team[step.seat].sample)
        other = self.instead.get(task.task_id)
        told = self.tell(step.seat, [other[i] if other else talk.words(i) for i in reads])
        is_new = step.own is None or not step.remembers
        if is_new:
            talk.team[step.seat].go_back()
        heard = (*(task.prompt if is_new else ()), *told)
        return await talk.turn(
            step.seat, *(heard or (said("user", "go on"),)), round=step.round, reads=reads, place=place
        )

    def chosen(self, task: Task, step: Step, sample: int) -> tuple[int, ...]:
        """The turns that are read, in an order of its own for each attempt, seat and round."""
        reads = list(step.reads)
        stream(0, "heard", task.task_id, sample, step.seat, step.round).shuffle(reads)
        return tuple(reads[: self.most_heard])

    def tell(self, seat: str, words: Sequence[str]) -> tuple[Message, ...]:
        """What a seat is told behind the question; nothing where there is nothing to tell."""
        lines = [*filter(None, words), *([self.asks[seat]] if seat in self.asks else [])]  # silence is not told
        return (said("user", "\n".join(lines)),) if lines else ()
