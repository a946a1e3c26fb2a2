"""Scores of the nodes of a search tree: each node judged by itself, then compared with its parent and siblings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from evolvent.errors import BadInput
from evolvent.records import Episode, Score, Span
from evolvent.rewards.by_task import by_task
from evolvent.rewards.judge import Judge
from evolvent.rollouts.tree import Node, nodes_of

NODE = "node "  # credit.trees reads the values of nodes by these names


@dataclass(frozen=True)
class TreeShaping:
    """r + gamma (r - b) with b = (1 - lam) r_parent + lam mean(r_siblings): MARS2, arXiv:2604.14564.

    A node without siblings is compared with its parent, one made from the problem itself with its siblings, and one
    with neither is left as it is. With gamma 0.3 and lam 0.5, r=1 with a parent of 0 and siblings of 0 and 1 gives
    1.225, and r=0 with a parent and a sibling of 1 gives -0.3.
    """

    gamma: float = 0.3  # the defaults of the published function
    lam: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.lam <= 1 or not 0 <= self.gamma < math.inf:
            raise BadInput("no such shaping", where="TreeShaping", got=self, wanted="gamma >= 0 and lam in 0..1")

    def __call__(self, values: Sequence[float], parents: Sequence[int | None]) -> list[float]:
        """Shaped values, every baseline from `values` as they are; `parents[i]` is the place of i's parent."""
        _check_parents(values, parents)
        return [self._shape(i, values, parents) for i in range(len(values))]

    def _shape(self, i: int, values: Sequence[float], parents: Sequence[int | None]) -> float:
        parent = parents[i]
        siblings = [values[j] for j in range(len(values)) if j != i and parents[j] == parent]
        value, mean = values[i], math.fsum(siblings) / len(siblings) if siblings else 0.0
        if parent is None:
            baseline = mean if siblings else value
        else:
            baseline = (1 - self.lam) * values[parent] + self.lam * mean if siblings else values[parent]
        return value + self.gamma * (value - baseline)


@dataclass(frozen=True)
class PerNode:
    """Judges every node of an episode's tree as if its words had been the answer; each seat gets spans of its nodes.

    The value of a seat is the mean of what its nodes earned before `shaping`; the components hold the shaped value of
    every node of the tree, by number. A seat that made no node is not named.
    """

    judge: Judge = by_task
    shaping: TreeShaping | None = None

    @property
    def judges_alone(self) -> bool:
        """Each score depends on its own episode alone, where it does for the judge."""
        return bool(getattr(self.judge, "judges_alone", False))

    def __call__(self, episodes: Sequence[Episode]) -> list[dict[str, Score]]:
        """One score per seat and episode."""
        trees = [nodes_of(episode.info, f"episode {episode.episode_id}") for episode in episodes]
        as_answers = [replace(e, answer=node.text) for e, nodes in zip(episodes, trees, strict=True) for node in nodes]
        earned = iter(self.judge(as_answers))
        return [self._scores(nodes, [_value(next(earned)) for _ in nodes]) for nodes in trees]

    def _scores(self, nodes: Sequence[Node], raw: Sequence[float]) -> dict[str, Score]:
        values = list(raw) if self.shaping is None else self.shaping(raw, [node.parent for node in nodes])
        by_node = {f"{NODE}{node.number}": value for node, value in zip(nodes, values, strict=True)}
        return {seat: _score_of(seat, nodes, raw, by_node) for seat in dict.fromkeys(node.seat for node in nodes)}


def _score_of(seat: str, nodes: Sequence[Node], raw: Sequence[float], by_node: dict[str, float]) -> Score:
    own = [node for node in nodes if node.seat == seat]
    earned = [raw[node.number] for node in own]
    spans = tuple(Span(node.turn, 0, node.num_tokens, by_node[f"{NODE}{node.number}"]) for node in own)
    why = f"{len(own)} of {len(nodes)} nodes, worth {', '.join(f'{value:g}' for value in earned)}"
    return Score(math.fsum(earned) / len(earned), by_node, why, spans)


def _value(given: object) -> float:
    if not isinstance(given, Score):
        raise BadInput("a node is judged as one answer", got=type(given).__name__, wanted="one Score an episode")
    return given.value


def _check_parents(values: Sequence[float], parents: Sequence[int | None]) -> None:
    odd = [parent for i, parent in enumerate(parents) if parent is not None and not 0 <= parent < i]
    if len(values) != len(parents) or odd:
        raise BadInput(
            "no tree: a parent is made before its children",
            where="TreeShaping",
            got=f"{len(values)} values with the parents {list(parents)}",
            wanted="for each value None, or the place of one before it",
        )
