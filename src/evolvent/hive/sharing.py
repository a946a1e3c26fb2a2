"""What sharing is worth: agents that read each other, agents apart, and agents in one hub that cannot see the others.

`evolvent effect evolvent.hive.sharing:effect seeds=0,1,...`

All arms have the same agents on the same landscapes, who take turns. They differ in nothing but in what an agent sees
before it proposes: all official results so far, or the baseline and its own. The outcome is the number of evaluations
of all agents together until one of them has found the top of a deceptive landscape. Hidden agents are measured with
chance of their own, so that the second claim is news; the third gives them the chance of those apart, where every
single try has to be the same: that nothing leaks. The game is played on the landscape itself; one that
tests/hive/test_sharing.py plays on a hub with its git, queue and sandbox has the same evaluations one by one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from evolvent.effects.versions import digest_of
from evolvent.evals.contrast import Kind, Observation, Spent
from evolvent.hive.agents.searchers import Crossover, HillClimb, Move, Searcher, Tried
from evolvent.hive.space import Space
from evolvent.hive.tricks import Landscape, draw_landscape
from evolvent.seeds import derive, stream

NUM_LANDSCAPES = 32  # of one seed
CAP = 4000  # evaluations of all agents together, after which a race counts as this many
EXACTLY = 0.5  # evaluations: less than one
AGENTS: tuple[tuple[str, Callable[[Space], Searcher]], ...] = (
    ("climber-1", HillClimb),
    ("climber-2", HillClimb),
    ("breeder-1", Crossover),
    ("breeder-2", Crossover),
)
SHARED, HIDDEN, APART = "shared", "hidden", "apart"
SAME, OWN = "race", "another race"  # streams of chance
METRIC = "evaluations of all agents until the top"
HUB, BASELINE = "hub", "baseline"
_CODE = ("sharing.py", "tricks.py", "agents/searchers.py", "space.py")


Found = tuple[tuple[float, ...], Spent]  # evaluations, one number for each landscape, and what they took


@dataclass(frozen=True)
class Setting:
    """What results depend on."""

    agents: tuple[str, ...]
    num_landscapes: int
    cap: int
    code: str


@dataclass(frozen=True, slots=True)
class Race:
    """One game to its end: who tried what in which order, and whether the top was found."""

    tried: tuple[Tried, ...]
    is_won: bool

    @property
    def num_evaluations(self) -> int:
        """Of all agents together; the baseline is nobody's."""
        return len(self.tried)


def build() -> Setting:
    """The experiment as it is: another one has other results."""
    home = Path(__file__).parent
    return Setting(tuple(name for name, _ in AGENTS), NUM_LANDSCAPES, CAP, digest_of([home / name for name in _CODE]))


def effect(seed: int) -> list[Observation]:
    """Sharing against isolation on the same landscapes, and what is left of it when the context is hidden."""
    shared, apart, again = (_outcomes(seed, arm) for arm in (SHARED, APART, HIDDEN))
    hidden = _outcomes(seed, HIDDEN, OWN)

    def compare(claim: str, kind: Kind, treated: Found, control: Found, tolerance: float | None = None) -> Observation:
        (ours, spent), (theirs, spent_control) = treated, control
        return Observation(
            claim, kind, METRIC, ours, theirs, spent, spent_control, unit="landscape", tolerance=tolerance
        )

    return [
        compare("agents that read each other need fewer evaluations in all than agents apart", "less", shared, apart),
        compare(
            "agents of one hub that cannot see the others need more than those that can", "greater", hidden, shared
        ),
        compare("with the same chance, try by try as agents apart: nothing leaks", "equal", again, apart, EXACTLY),
    ]


def _outcomes(seed: int, arm: str, chance: str = SAME) -> Found:
    start = time.perf_counter()
    numbers = tuple(float(one.num_evaluations) for one in races(seed, arm, chance))
    return numbers, Spent(seconds=time.perf_counter() - start)


def races(seed: int, arm: str, chance: str = SAME) -> Iterator[Race]:
    """The games of one seed: each has a landscape and streams of chance of its own."""
    for number in range(NUM_LANDSCAPES):
        yield race(draw_landscape(seed, number), derive(seed, chance, number), arm)


def race(landscape: Landscape, seed: int, arm: str, cap: int = CAP) -> Race:
    """The agents by turns until one finds the top, or the cap is reached.

    Apart, each agent has a hub of its own; else one hub has them all, and `hidden` shows each its own runs alone.
    """
    searchers = [(name, make(landscape.space)) for name, make in AGENTS]
    hubs: dict[str, list[Tried]] = {name if arm == APART else HUB: [_baseline(landscape)] for name, _ in AGENTS}
    order: list[Tried] = []
    while len(order) < cap:
        name, searcher = searchers[len(order) % len(searchers)]
        hub = hubs[name if arm == APART else HUB]
        seen = hub if arm == SHARED else [one for one in hub if one.agent in (name, HUB)]
        move = searcher.propose(turn(seed, name, seen), seen)
        if move is None:
            break
        hub.append(_evaluate(landscape, name, move, len(hub) + 1))
        order.append(hub[-1])
        if landscape.is_top(hub[-1].worth or 0.0):
            return Race(tuple(order), True)
    return Race(tuple(order), False)


def turn(seed: int, agent: str, seen: Sequence[Tried]) -> Random:
    """The chance of an agent's next try: the same as a member of a hub has."""
    return stream(seed, "join", agent, sum(one.agent == agent for one in seen), 0)


def _baseline(landscape: Landscape) -> Tried:
    point = {one.name: False for one in landscape.space.params}
    return Tried(point, landscape.worth(point), HUB, BASELINE, number=1)


def _evaluate(landscape: Landscape, agent: str, move: Move, number: int) -> Tried:
    parent = move.parent.commit if move.parent else None
    return Tried(move.point, landscape.worth(move.point), agent, f"run {number}", parent, number)
