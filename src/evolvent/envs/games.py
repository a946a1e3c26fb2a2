"""Games for two seats as worlds: whose turn it is, what may be done, and who has won."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import xor
from types import TracebackType
from typing import Protocol

from evolvent.envs.world import World, WorldStep
from evolvent.errors import BadInput
from evolvent.records import Block, Message, Task, Text, Tool, ToolCall, ToolResult
from evolvent.tasks.positions import heaps_of

FIRST, SECOND = SEATS = ("first", "second")


class Game(World, Protocol):
    """A world that two seats play against each other, the first of them to begin."""

    @property
    def seed(self) -> int:
        """Where whoever plays by chance takes it from."""
        ...

    @property
    def moves(self) -> tuple[str, ...]:
        """What the seat to move may say."""
        ...

    @property
    def best_moves(self) -> tuple[str, ...]:
        """The moves that win against everybody; all of them where none does."""
        ...

    @property
    def winner(self) -> str:
        """The seat that has won, "" until then."""
        ...

    @property
    def broke_rules(self) -> bool:
        """Whether the loser lost by a move that is none."""
        ...


@dataclass(frozen=True, slots=True)
class Nim:
    """Take 1 to `most_taken` matches from one heap; who takes the last one wins, who says something else loses.

    A seat sees the heaps (3 5 2) behind the `preface`, and moves by a heap's letter and a number (b4).
    """

    most_taken: int
    preface: str = ""

    def open(self, task: Task, seed: int) -> OpenNim:
        """The game from the task's position."""
        return OpenNim(self, heaps_of(task), seed)


class OpenNim:
    """A game of Nim at some point of it."""

    seats: tuple[str, ...] = SEATS

    def __init__(self, plan: Nim, heaps: list[int], seed: int) -> None:
        self.seed, self._plan, self._heaps = seed, plan, heaps
        self._mover, self.winner, self.broke_rules = FIRST, "", False

    async def __aenter__(self) -> OpenNim:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @property
    def to_move(self) -> tuple[str, ...]:
        """One seat, and nobody once the game is over."""
        return () if self.winner else (self._mover,)

    @property
    def moves(self) -> tuple[str, ...]:
        """Every heap's letter with every number that may be taken from it."""
        most = self._plan.most_taken
        return tuple(f"{letter(i)}{n}" for i, h in enumerate(self._heaps) for n in range(1, min(h, most) + 1))

    @property
    def best_moves(self) -> tuple[str, ...]:
        """The moves that leave an exclusive or of 0 over heap mod (most_taken + 1), Bouton 1901; all if none does."""
        base = self._plan.most_taken + 1
        total = reduce(xor, (heap % base for heap in self._heaps))
        best = [
            f"{letter(i)}{n}"
            for i, heap in enumerate(self._heaps)
            for n in range(1, min(heap, base - 1) + 1)
            if total ^ (heap % base) == (heap - n) % base
        ]
        return tuple(best) or self.moves

    def observe(self, seat: str) -> tuple[Block, ...]:
        """The heaps; nothing is hidden."""
        return (Text(self._plan.preface + " ".join(map(str, self._heaps))),)

    def tools(self, seat: str) -> tuple[Tool, ...]:
        """None."""
        return ()

    async def step(self, actions: Mapping[str, Message]) -> Mapping[str, WorldStep]:
        """One move of the seat whose turn it is."""
        if tuple(actions) != self.to_move:
            raise BadInput("not their turn", where="Nim.step", got=", ".join(actions), wanted=", ".join(self.to_move))
        (mover, message), other = *actions.items(), SECOND if self._mover == FIRST else FIRST
        move = message.text.strip()
        if move in self.moves:
            self._heaps[ord(move[0]) - ord("a")] -= int(move[1:])
            self.winner = "" if any(self._heaps) else mover
        else:
            self.winner, self.broke_rules = other, True
        self._mover = other
        return {seat: self._seen(seat) for seat in SEATS}

    def _seen(self, seat: str) -> WorldStep:
        gain = {"return": 1.0 if seat == self.winner else -1.0} if self.winner else {}
        return WorldStep(self.observe(seat), gain, done=bool(self.winner))

    async def call(self, seat: str, call: ToolCall) -> ToolResult:
        """There is nothing to call."""
        return ToolResult(call.name, "error: this game has no tools; cure: say a move", is_error=True)

    def snapshot(self) -> bytes:
        """The whole state."""
        return json.dumps([self._heaps, self._mover, self.winner, self.broke_rules]).encode()

    def restore(self, state: bytes) -> None:
        """Go back to a snapshot."""
        self._heaps, self._mover, self.winner, self.broke_rules = json.loads(state)

    def state_digest(self) -> str:
        """SHA-256 of the state."""
        return hashlib.sha256(self.snapshot()).hexdigest()


def letter(number: int) -> str:
    """The name of a heap: a, b, c."""
    return chr(ord("a") + number)
