"""Trees of attempts and of actions: each node is a context of its own in the trace of the seat that made it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from evolvent.envs.world import World
from evolvent.errors import BadInput
from evolvent.records import Block, Message, Task, Text, ToolResult, said
from evolvent.rollouts.seat import START, BudgetSpent, Mark, Seat
from evolvent.rollouts.workflows import Answer, Team

TREE = "tree"  # where an episode's info keeps the nodes of its search
BEST = "best"
SOLVED = 1.0

Tests = Callable[[Task, str], tuple[float, str]]
"""What a task's public tests say of an attempt: a share in 0..1, and words for who tries again."""

Value = Callable[[Task, World, str], float | Awaitable[float]]
"""What a state seems worth, in 0..1: the task, the world as it was left, and the words said so far."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a search: which seat made it out of which other, what it says, and what it seems worth.

    Node 0 is the first one made; `parent` is None for what begins at the problem itself, at depth 1. Its own tokens are
    the first `num_tokens` of turn `turn` of its seat. `words` is what tests said of it. A node `is_whole` where it is
    an answer, and nothing follows one that `is_end`.
    """

    number: int
    parent: int | None
    seat: str
    depth: int
    text: str
    score: float
    words: str
    turn: int
    num_tokens: int
    is_whole: bool
    is_end: bool


@dataclass(frozen=True, slots=True)
class Grown:
    """What a growth made: the words so far, their score, and where to go on from."""

    text: str
    score: float
    words: str = ""
    is_whole: bool = False
    is_end: bool = False
    mark: Mark = START
    state: bytes = b""
    heard: tuple[Message, ...] = ()


class Growth(Protocol):
    """How a node is made from another one, or from the problem (None)."""

    async def begin(self, task: Task, team: Team, world: World, seats: Sequence[str]) -> Grown | None:
        """What the first nodes are made from; BadInput where a search of this kind cannot be."""
        ...

    async def grow(self, task: Task, seat: Seat, world: World, parent: Grown | None) -> Grown:
        """A child of `parent`."""
        ...


class Tree:
    """The tree of one episode as it grows."""

    def __init__(self, task: Task, team: Team, world: World, growth: Growth) -> None:
        self.task, self.team, self.world, self.growth = task, team, world, growth
        self.nodes: list[Node] = []
        self._grown: list[Grown] = []
        self._root: Grown | None = None

    async def begin(self, seats: Sequence[str]) -> None:
        """Make sure that these seats can search here."""
        self._root = await self.growth.begin(self.task, self.team, self.world, seats)

    async def grow(self, parent: Node | None, seat: str) -> Node | None:
        """A new child of `parent` by a seat; None where the seat has no tokens left to say anything."""
        before = self._root if parent is None else self._grown[parent.number]
        speaker = self.team[seat]
        num_turns = len(speaker.turns)
        try:
            made = await self.growth.grow(self.task, speaker, self.world, before)
        except BudgetSpent:
            return None
        if not 0.0 <= made.score <= 1.0 or math.isnan(made.score):
            raise BadInput("a node is worth 0 to 1", where=f"task {self.task.task_id}", got=made.score, wanted="0..1")
        turn = max(n for n in range(num_turns, len(speaker.turns)) if speaker.turns[n].sampling is not None)
        node = Node(
            number=len(self.nodes),
            parent=None if parent is None else parent.number,
            seat=seat,
            depth=1 if parent is None else parent.depth + 1,
            text=made.text,
            score=float(made.score),
            words=made.words,
            turn=turn,
            num_tokens=len(speaker.turns[turn].tokens),
            is_whole=made.is_whole,
            is_end=made.is_end,
        )
        self.nodes.append(node)
        self._grown.append(made)
        return node

    def answer(self) -> Answer:
        """The best whole node's words, the first of equals; `info` holds every node, and the world is left as there."""
        ends = [node for node in self.nodes if node.is_whole] or self.nodes
        if not ends:
            return Answer("", {TREE: []})
        best = max(ends, key=lambda node: node.score)
        if self._grown[best.number].state:
            self.world.restore(self._grown[best.number].state)
        return Answer(best.text, {TREE: [asdict(node) for node in self.nodes], BEST: best.number})


def nodes_of(info: Mapping[str, Any], where: str = "") -> list[Node]:
    """The nodes that a search left in an episode's info."""
    if TREE not in info:
        raise BadInput(
            "this episode holds no tree",
            where=where,
            got=", ".join(info) or "no info",
            wanted=f"info[{TREE!r}], as searches leave it",
            cure="workflow=ABMCTS(...), Beam(...) or BestOf(...)",
        )
    return [Node(**node) for node in info[TREE]]


# ---------------------------------------------------------------- how nodes grow


@dataclass(frozen=True)
class Refine:
    """A node is a whole attempt; a child hears the problem, its parent's attempt, and what the tests said of it.

    `form` is how the last two are told. Agents of different policies may refine each other.
    """

    tests: Tests
    form: str = "{attempt}\n{words}"

    async def begin(self, task: Task, team: Team, world: World, seats: Sequence[str]) -> None:
        """Any seats will do."""

    async def grow(self, task: Task, seat: Seat, world: World, parent: Grown | None) -> Grown:
        """One attempt."""
        seat.go_back()
        more = () if parent is None else (said("user", self.form.format(attempt=parent.text, words=parent.words)),)
        reply, _ = await heard_out(seat, lambda: seat.say(*task.prompt, *more))
        text = reply.text.strip()
        score, words = self.tests(task, text)
        return Grown(text, score, words, is_whole=True, is_end=score >= SOLVED)


@dataclass(frozen=True)
class Write:
    """A node is a step of one reply, up to one of `stops`; a child goes on where its parent stopped."""

    value: Value
    stops: tuple[str, ...] = ("\n",)

    async def begin(self, task: Task, team: Team, world: World, seats: Sequence[str]) -> None:
        """One seat writes."""
        _check_alone(seats, "goes on with a reply")

    async def grow(self, task: Task, seat: Seat, world: World, parent: Grown | None) -> Grown:
        """One step."""
        seat.go_back(START if parent is None else parent.mark)
        begins = parent is None
        part, is_cut = await heard_out(
            seat, lambda: seat.say(*task.prompt, stops=self.stops) if begins else seat.go_on(stops=self.stops)
        )
        text = part.text if parent is None else parent.text + part.text
        mark = seat.mark()
        is_end = is_cut or not mark.is_open
        score = await _worth(self.value(task, world, text))
        return Grown(text.strip() if is_end else text, score, is_whole=is_end, is_end=is_end, mark=mark)


@dataclass(frozen=True)
class Act:
    """A node is one action in the world, from a snapshot of it; a child goes on where its parent left the world."""

    value: Value

    async def begin(self, task: Task, team: Team, world: World, seats: Sequence[str]) -> Grown:
        """The world as it was opened; BadInput where it cannot go back to what it was."""
        _check_alone(seats, "acts in a world")
        [name] = seats
        if world.to_move != (name,):
            raise BadInput(
                "a search over actions needs a world in which this seat alone acts",
                where=f"task {task.task_id}, {type(world).__name__}",
                got=f"{', '.join(world.to_move) or 'nobody'} to move",
                wanted=name,
            )
        try:
            state = world.snapshot()
            world.restore(state)
        except (BadInput, NotImplementedError) as error:
            raise BadInput(
                "a search over actions needs a world that can go back to a snapshot",
                where=f"task {task.task_id}, {type(world).__name__}",
                got=str(error).splitlines()[0] if str(error) else type(error).__name__,
                cure="search over whole attempts (Refine), or take a world with snapshot() and restore()",
            ) from error
        return Grown("", 0.0, state=state, heard=(*task.prompt, *as_messages(world.observe(name))))

    async def grow(self, task: Task, seat: Seat, world: World, parent: Grown | None) -> Grown:
        """One action."""
        assert parent is not None
        world.restore(parent.state)
        seat.go_back(parent.mark)
        reply, is_cut = await heard_out(seat, lambda: seat.say(*parent.heard))
        step = (await world.step({seat.name: reply}))[seat.name]
        text, is_end = reply.text.strip(), is_cut or step.done or step.truncated
        return Grown(
            text=text,
            score=await _worth(self.value(task, world, text)),
            is_whole=is_end,
            is_end=is_end,
            mark=seat.mark(),
            state=world.snapshot(),
            heard=as_messages(step.observation),
        )


async def heard_out(seat: Seat, speak: Callable[[], Awaitable[Message]]) -> tuple[Message, bool]:
    """What a seat says, and whether it came to no end; BudgetSpent only where it could not say a word."""
    num_turns = len(seat.turns)
    try:
        return await speak(), False
    except BudgetSpent:
        if len(seat.turns) == num_turns or seat.turns[-1].sampling is None:
            raise
        return seat.turns[-1].message, True


def as_messages(seen: Sequence[Block]) -> tuple[Message, ...]:
    """What a world shows as messages: each result of a tool by itself, the rest as words of a user."""
    results = tuple(Message("tool", (block,)) for block in seen if isinstance(block, ToolResult))
    rest = tuple(block for block in seen if not isinstance(block, ToolResult))
    has_rest = any(not isinstance(block, Text) or block.text for block in rest)
    return (*results, Message("user", rest)) if has_rest else results


async def _worth(value: float | Awaitable[float]) -> float:
    return await value if inspect.isawaitable(value) else value


def _check_alone(seats: Sequence[str], does: str) -> None:
    if len(seats) != 1:
        raise BadInput(
            f"one seat {does}, for nobody else has its context",
            where="seats of a search",
            got=", ".join(seats) or "none",
            wanted="one seat",
            cure="Refine: whole attempts, which several agents can make in turn",
        )
