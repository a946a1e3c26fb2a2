"""Episodes that are games: two seats against each other, one against a script, or a script at both for a cold start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import cast

from evolvent.envs.games import SEATS, Game
from evolvent.envs.world import World
from evolvent.records import Message, Task, said
from evolvent.rollouts.seat import BudgetSpent, Seat
from evolvent.rollouts.workflows import Answer, Team
from evolvent.seeds import stream

Opponent = Callable[[Game, Random], str]
"""A script's next move."""


def at_random(game: Game, rng: Random) -> str:
    """Any move."""
    return rng.choice(game.moves)


def perfect(game: Game, rng: Random) -> str:
    """A move that wins if one does, else any."""
    return rng.choice(game.best_moves)


async def duel(task: Task, team: Team, world: World) -> Answer:
    """Both seats are played by the team; `info` says who won, whether by a broken rule, and who played."""
    game = cast(Game, world)
    while game.to_move:
        (seat,) = game.to_move
        await game.step({seat: await move(team[seat], game)})
    return _over(game, SEATS)


@dataclass(frozen=True, slots=True)
class Against:
    """One seat against a script, first or second by the game's own chance."""

    opponent: Opponent

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one game."""
        game = cast(Game, world)
        rng = stream(game.seed, "script")
        ours = rng.choice(SEATS)
        while game.to_move:
            (seat,) = game.to_move
            said_now = await move(team[seat], game) if seat == ours else said("assistant", self.opponent(game, rng))
            await game.step({seat: said_now})
        return _over(game, (ours,))


@dataclass(frozen=True, slots=True)
class Recite:
    """The cold start of a game: both seats recite what a script moves, which teaches how to say a move."""

    script: Opponent = at_random

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one game."""
        game = cast(Game, world)
        rng = stream(game.seed, "script")
        while game.to_move:
            (seat,) = game.to_move
            spoken = said("assistant", self.script(game, rng))
            await game.step({seat: team[seat].recite(spoken, Message("user", game.observe(seat)))})
        return _over(game, SEATS)


async def move(seat: Seat, game: Game) -> Message:
    """What a seat says to the game as it stands; one that comes to no end has said what it said, and loses by it."""
    try:
        return await seat.say(Message("user", game.observe(seat.name)))
    except BudgetSpent:
        return said("assistant", "no move")


def _over(game: Game, played: tuple[str, ...]) -> Answer:
    """The game's end; for one player in words whether it won, for two who did."""
    words = f"{game.winner} won" if len(played) > 1 else "won" if game.winner in played else "lost"
    return Answer(words, {"winner": game.winner, "broke_rules": game.broke_rules, "played": list(played)})
