"""The fewest steps between two nodes of a small undirected graph, or that there is no way."""

from __future__ import annotations

import random

from evolvent.records import Reference, said
from evolvent.tasks.procedural.draft import Draft

LEVELS = (1, 2, 3, 4, 5)
JUDGE = Reference("evolvent.rewards.verify:exact")

NUM_NODES = {1: 4, 2: 5, 3: 7, 4: 9, 5: 12}
NO_WAY = "no"


def make(rng: random.Random, level: int) -> Draft:
    """Edges such as ab bc cd, and two nodes; the wanted length is drawn first, so that all lengths are as frequent."""
    num_nodes = NUM_NODES[level]
    nodes = "".join(rng.sample("abcdefghijklmnopqrstuvwxyz", num_nodes))
    wanted = rng.randint(0, min(level + 2, num_nodes - 1))
    while True:
        num_edges = rng.randint(num_nodes - 2, num_nodes + 1)
        pairs = [(a, b) for i, a in enumerate(nodes) for b in nodes[i + 1 :]]
        edges = rng.sample(pairs, num_edges)
        start, goal = rng.sample(nodes, 2)
        if num_steps(edges, start, goal) == (wanted or None):
            break
    answer = str(wanted) if wanted else NO_WAY
    listed = " ".join("".join(rng.sample(edge, 2)) for edge in edges)
    return Draft(
        f"edges {listed}. fewest steps {start} to {goal}, or {NO_WAY}?", answer, solution=(said("assistant", answer),)
    )


def num_steps(edges: list[tuple[str, str]], start: str, goal: str) -> int | None:
    """The length of the shortest path, breadth first; None where there is none."""
    seen, front, steps = {start}, {start}, 0
    while front:
        if goal in front:
            return steps
        near = {b for a, b in edges if a in front} | {a for a, b in edges if b in front}
        front, steps = near - seen, steps + 1
        seen |= front
    return None
