"""Searches as workflows: the best of several attempts, a beam over steps, and AB-MCTS with one arm for each agent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from evolvent.envs.world import World
from evolvent.errors import BadInput
from evolvent.records import Task
from evolvent.rollouts.tree import SOLVED, Growth, Node, Tree
from evolvent.rollouts.workflows import Answer, Team
from evolvent.seeds import stream


@dataclass(frozen=True)
class BestOf:
    """`num_attempts` nodes made from the problem, by the seats in turn; the best of them is the answer.

    Where the growth makes steps, each is followed to its end, at most `max_depth` steps deep.
    """

    num_attempts: int
    growth: Growth
    seats: tuple[str, ...] = ("agent",)
    ends_when_solved: bool = False
    max_depth: int = 16

    def __post_init__(self) -> None:
        _check(self.seats, BestOf=self.num_attempts, max_depth=self.max_depth)

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one episode."""
        tree = Tree(task, team, world, self.growth)
        await tree.begin(self.seats)
        for number in range(self.num_attempts):
            seat = self.seats[number % len(self.seats)]
            node = await tree.grow(None, seat)
            while node is not None and not node.is_whole and node.depth < self.max_depth:
                node = await tree.grow(node, seat)
            if node is None or (self.ends_when_solved and _is_solved(node)):
                break
        return tree.answer()


@dataclass(frozen=True)
class Beam:
    """The `width` best nodes of each depth have `num_children` children each, until all have ended or `max_depth`.

    The problem itself has as many children as all of them together, so that every depth costs the same.
    """

    width: int
    num_children: int
    max_depth: int
    growth: Growth
    seats: tuple[str, ...] = ("agent",)

    def __post_init__(self) -> None:
        _check(self.seats, width=self.width, num_children=self.num_children, max_depth=self.max_depth)

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one episode."""
        tree = Tree(task, team, world, self.growth)
        await tree.begin(self.seats)
        beam: list[Node | None] = [None]
        for _ in range(self.max_depth):
            made = [await self._grow(tree, place, node) for place, node in enumerate(self._parents(beam))]
            grown = [node for node in made if node is not None]
            # what has ended keeps its place, so that a good short answer is not pushed out by long ones
            pool = [node for node in beam if node is not None and node.is_end] + grown
            beam = list(sorted(pool, key=lambda node: -node.score)[: self.width])
            if not grown or all(node is not None and node.is_end for node in beam):
                break
        return tree.answer()

    def _parents(self, beam: Sequence[Node | None]) -> list[Node | None]:
        if list(beam) == [None]:
            return [None] * (self.width * self.num_children)
        return [node for node in beam if node is not None and not node.is_end for _ in range(self.num_children)]

    async def _grow(self, tree: Tree, place: int, parent: Node | None) -> Node | None:
        return await tree.grow(parent, self.seats[place % len(self.seats)])


@dataclass(frozen=True)
class ABMCTS:
    """Adaptive branching: at each node chance decides between a new child by one of the seats and a child there is.

    Every choice is a draw from a Beta posterior of the scores that it has led to (AB-MCTS with node aggregation,
    arXiv:2503.04412); `prior` is Jeffreys'. A node with score 1 is not refined. A draw for a new child is multiplied by
    `depth_weight` to the power of the depth of its parent, which below 1 makes wide trees and above 1 deep ones.
    """

    max_num_nodes: int
    growth: Growth
    seats: tuple[str, ...] = ("agent",)
    ends_when_solved: bool = False
    prior: tuple[float, float] = (0.5, 0.5)
    depth_weight: float = 1.0

    def __post_init__(self) -> None:
        _check(self.seats, max_num_nodes=self.max_num_nodes)
        if min(*self.prior, self.depth_weight) <= 0:
            raise BadInput("a prior and a weight are above 0", where="ABMCTS", got=(self.prior, self.depth_weight))

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one episode."""
        tree = Tree(task, team, world, self.growth)
        await tree.begin(self.seats)
        seed = team[self.seats[0]].seed
        for number in range(self.max_num_nodes):
            parent, seat = self.choose(tree.nodes, stream(seed, "ab-mcts", number))
            node = await tree.grow(parent, seat)
            if node is None or (self.ends_when_solved and _is_solved(node)):
                break
        return tree.answer()

    def choose(self, nodes: Sequence[Node], rng: Random) -> tuple[Node | None, str]:
        """Whose child is made next, and by whom: from the problem downwards, one draw for every choice."""
        children = _children(nodes)
        below = _scores_below(nodes)
        place: Node | None = None
        while True:
            there = children.get(None if place is None else place.number, [])
            depth = 0 if place is None else place.depth
            draws: dict[str | None, float] = {
                seat: self._draw([c.score for c in there if c.seat == seat], rng) * self.depth_weight**depth
                for seat in self.seats
            }
            can_grow = [c for c in there if not c.is_end]
            if can_grow:
                draws[None] = self._draw([score for c in there for score in below[c.number]], rng)
            chosen = max(draws, key=lambda arm: draws[arm])
            if chosen is not None:
                return place, chosen
            place = max(can_grow, key=lambda c: self._draw([c.score, *below[c.number]], rng))

    def _draw(self, scores: Sequence[float], rng: Random) -> float:
        a, b = self.prior
        return rng.betavariate(a + sum(scores), b + len(scores) - sum(scores))


def _is_solved(node: Node) -> bool:
    return node.is_whole and node.score >= SOLVED


def _children(nodes: Sequence[Node]) -> dict[int | None, list[Node]]:
    found: dict[int | None, list[Node]] = {}
    for node in nodes:
        found.setdefault(node.parent, []).append(node)
    return found


def _scores_below(nodes: Sequence[Node]) -> list[list[float]]:
    """For each node the scores of all that descends from it."""
    found: list[list[float]] = [[] for _ in nodes]
    for node in nodes:
        parent = node.parent
        while parent is not None:
            found[parent].append(node.score)
            parent = nodes[parent].parent
    return found


def _check(seats: tuple[str, ...], **numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise BadInput("a search of nothing", where=name, got=number, wanted=">= 1")
    if not seats or len(set(seats)) != len(seats):
        raise BadInput("nobody searches, or somebody twice", where="seats", got=", ".join(seats) or "none")
