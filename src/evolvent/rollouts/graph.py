"""Teams as data: which seat speaks in which round, and whose words it reads before."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evolvent.errors import BadInput

Mask = tuple[tuple[bool, ...], ...]
"""One row for each seat that is read, one column for each that reads."""


@dataclass(frozen=True, slots=True)
class Round:
    """One round of talk between seats i and j, as two masks: MARTI (ICLR 2026), section on the graph of agents.

    `spatial[i][i]`: i speaks in this round. `spatial[i][j]`: j reads what i says in the same round, and so waits for
    it. `temporal[i][j]`: j reads what i last said in an earlier round, if it has spoken. `temporal[j][j]`: j goes on
    with its own context, where else it begins anew.
    """

    spatial: Mask
    temporal: Mask


@dataclass(frozen=True, slots=True)
class Step:
    """One turn of a script: whose, in which round, the numbers of the turns that it reads, and its own turn before."""

    seat: str
    round: int
    reads: tuple[int, ...]
    own: int | None
    remembers: bool


@dataclass(frozen=True, slots=True)
class Graph:
    """Seats and rounds; a graph in which seats of one round wait for each other is refused."""

    seats: tuple[str, ...]
    rounds: tuple[Round, ...]

    def __post_init__(self) -> None:
        if not self.seats or len(set(self.seats)) < len(self.seats) or not self.rounds:
            raise BadInput("a team needs seats with a name each, and a round", where="Graph", got=self.seats)
        for number in range(len(self.rounds)):
            self._check(number)
            self._order(number)

    def script(self) -> tuple[Step, ...]:
        """Every turn in order: round by round, and whoever is read before whoever reads."""
        steps: list[Step] = []
        latest: dict[int, int] = {}
        for number, masks in enumerate(self.rounds):
            current: dict[int, int] = {}
            for j in self._order(number):
                earlier = [at for i, at in latest.items() if i != j and masks.temporal[i][j]]
                now = [at for i, at in current.items() if masks.spatial[i][j]]
                reads = tuple(sorted({*earlier, *now}))
                steps.append(Step(self.seats[j], number, reads, latest.get(j), masks.temporal[j][j]))
                current[j] = len(steps) - 1
            latest |= current
        return tuple(steps)

    def _active(self, number: int) -> list[int]:
        return [i for i in range(len(self.seats)) if self.rounds[number].spatial[i][i]]

    def _order(self, number: int) -> list[int]:
        """The seats that speak in a round, by a topological queue; of those that are ready, the first in the team."""
        active, spatial = self._active(number), self.rounds[number].spatial
        unread = {j: sum(spatial[i][j] for i in active if i != j) for j in active}
        ready = [j for j in active if not unread[j]]
        order: list[int] = []
        while ready:
            order.append(ready.pop(0))
            for j in active:
                if j != order[-1] and spatial[order[-1]][j]:
                    unread[j] -= 1
                    if not unread[j]:
                        ready.append(j)
        if len(order) < len(active):
            self._refuse_cycle(number, [j for j in active if j not in order])
        return order

    def _refuse_cycle(self, number: int, stuck: Sequence[int]) -> None:
        spatial, way = self.rounds[number].spatial, [stuck[0]]
        while way[-1] not in way[:-1]:  # each that is stuck waits for another one
            way.append(next(i for i in stuck if i != way[-1] and spatial[i][way[-1]]))
        cycle = way[way.index(way[-1]) :][::-1]
        raise BadInput(
            "seats of one round wait for each other",
            where=f"round {number + 1} of a graph",
            got=" -> ".join(self.seats[i] for i in cycle),
            wanted="a spatial mask without a cycle",
            cure="let one of them read what the other said in an earlier round: temporal instead of spatial",
        )

    def _check(self, number: int) -> None:
        masks, size = self.rounds[number], len(self.seats)
        where = f"round {number + 1} of a graph"
        for name, mask in (("spatial", masks.spatial), ("temporal", masks.temporal)):
            if len(mask) != size or any(len(row) != size for row in mask):
                raise BadInput("a mask of another size than the team", where=f"{where}, {name}", wanted=(size, size))
        active = self._active(number)
        if not active:
            raise BadInput("nobody speaks", where=where, wanted="a seat i with spatial[i][i]")
        for i in range(size):
            for j in range(size):
                if masks.spatial[i][j] and not (i in active and j in active):
                    raise BadInput(
                        "a seat that is silent in a round can neither be read in it nor read",
                        where=where,
                        got=f"{self.seats[i]} -> {self.seats[j]}",
                        wanted="both to speak in this round",
                    )


def round_of(
    seats: Sequence[str],
    *,
    active: Sequence[str],
    now: Mapping[str, Sequence[str]] | None = None,
    before: Mapping[str, Sequence[str]] | None = None,
) -> Round:
    """A round by name: who speaks, whom each reads of those who speak now, and whom of those who spoke before."""
    now, before = now or {}, before or {}
    named = {*active, *now, *before, *itertools.chain(*now.values(), *before.values())}
    odd = sorted(named - set(seats))
    if odd:
        raise BadInput("no such seat in the team", where="round_of", got=odd[0], wanted=", ".join(seats))
    spatial = tuple(tuple(i in active if i == j else i in now.get(j, ()) for j in seats) for i in seats)
    temporal = tuple(tuple(i in before.get(j, ()) for j in seats) for i in seats)
    return Round(spatial, temporal)


def debate(num_agents: int, num_rounds: int, *, remembers: bool = True, name: str = "debater") -> Graph:
    """Everybody speaks in every round and reads what all others said in the round before."""
    seats = tuple(f"{name}{i + 1}" for i in range(num_agents))
    before = {j: [i for i in seats if i != j or remembers] for j in seats}
    return Graph(seats, (round_of(seats, active=seats, before=before),) * num_rounds)


def chain(*seats: str) -> Graph:
    """One after the other in one round, each reading all who spoke before it: generate, verify, refine."""
    return Graph(seats, (round_of(seats, active=seats, now={j: seats[:n] for n, j in enumerate(seats)}),))


def mixture(num_proposers: int, *, name: str = "proposer", aggregator: str = "aggregator") -> Graph:
    """Proposers side by side, then an aggregator that reads them all."""
    proposers = tuple(f"{name}{i + 1}" for i in range(num_proposers))
    seats = (*proposers, aggregator)
    first = round_of(seats, active=proposers)
    return Graph(seats, (first, round_of(seats, active=(aggregator,), before={aggregator: proposers})))
