"""Scores for steps from scores of whole answers: attempts that begin alike grow a tree, and outcomes flow back in it.

A node is a step after a prefix; it stands for all attempts (leaves) that go through it. OpenPRM, ICLR 2025.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Any, TypeVar

from evolvent.errors import BadInput
from evolvent.records import Episode, Score, Span, Trace
from evolvent.rewards.by_task import by_task, lift
from evolvent.rewards.judge import Check, Judge

Splitter = Callable[[str], tuple[str, ...]]
"""Cuts a text into steps that joined give the text again."""

State = TypeVar("State")


def split_sentences(text: str) -> tuple[str, ...]:
    """Sentences, each with the space behind it; a line that ends is a sentence too, 3.5 is none."""
    return tuple(part for part in re.split(r"(?<=[.!?]\s)(?=\S)|(?<=\n)(?=\S)", text) if part)


@dataclass(frozen=True, slots=True)
class SplitAfter:
    """Steps that end with a mark, such as a semicolon or a new line."""

    mark: str

    def __call__(self, text: str) -> tuple[str, ...]:
        """The steps; what stands behind the last mark is one as well."""
        return tuple(part for part in re.split(f"(?<={re.escape(self.mark)})", text) if part)


def alike(one: str, other: str) -> float:
    """2 M / T, with M matching characters of T in both, case and space aside; 1 for the same words."""
    one, other = ("".join(text.casefold().split()) for text in (one, other))
    return 1.0 if one == other else SequenceMatcher(None, one, other, autojunk=False).ratio()


# ---------------------------------------------------------------- the tree


@dataclass(frozen=True, slots=True)
class Node:
    """A step after a prefix; `leaves` are the attempts that go through it, `value` V(n) = mean of their rewards."""

    parent: int
    depth: int
    step: str
    leaves: tuple[int, ...]
    value: float


@dataclass(frozen=True, slots=True)
class Tree:
    """Nodes, the root (no step, all attempts) first and parents before children; `paths` are those of the attempts."""

    nodes: tuple[Node, ...]
    paths: tuple[tuple[int, ...], ...]

    def prefix(self, number: int) -> tuple[str, ...]:
        """The steps before a node."""
        steps: list[str] = []
        at = self.nodes[number].parent
        while at > 0:
            steps.append(self.nodes[at].step)
            at = self.nodes[at].parent
        return tuple(reversed(steps))

    def gains(self, attempt: int) -> tuple[float, ...]:
        """V(node) - V(parent) of each step of an attempt: what the step changed of the outcome to be expected."""
        on_path = (self.nodes[number] for number in self.paths[attempt])
        return tuple(node.value - self.nodes[node.parent].value for node in on_path)


def grow(attempts: Sequence[Sequence[str]], rewards: Sequence[float], tau: float = 1.0) -> Tree:
    """The tree of attempts given as steps: siblings that are `alike` to at least `tau` are one node.

    V(n) = 1/|L(n)| sum of r(l) over the leaves l of n. With tau=1 only the same words meet; a step joins the sibling
    that it is most like, under the words of whoever came first.
    """
    if not attempts or len(attempts) != len(rewards):
        raise BadInput("a tree needs attempts with a reward each", got=f"{len(attempts)} and {len(rewards)}")
    if not 0 < tau <= 1:
        raise BadInput("no such similarity", where="tau", got=tau, wanted="above 0, at most 1 (the same words)")
    parents, steps, leaves = [0], [""], [list(range(len(attempts)))]
    children: list[list[int]] = [[]]
    paths: list[tuple[int, ...]] = []
    for leaf, attempt in enumerate(attempts):
        at, path = 0, []
        for step in attempt:
            found = _most_alike(step, [(child, steps[child]) for child in children[at]], tau)
            if found is None:
                found = len(steps)
                parents, steps, leaves = [*parents, at], [*steps, step], [*leaves, []]
                children[at].append(found)
                children.append([])
            leaves[found].append(leaf)
            path.append(found)
            at = found
        paths.append(tuple(path))
    depths = [0]
    for parent in parents[1:]:
        depths.append(depths[parent] + 1)
    values = [math.fsum(rewards[leaf] for leaf in found) / len(found) for found in leaves]
    made = zip(parents, depths, steps, map(tuple, leaves), values, strict=True)
    return Tree(tuple(Node(*fields) for fields in made), tuple(paths))


def _most_alike(step: str, siblings: Sequence[tuple[int, str]], tau: float) -> int | None:
    best = max(((alike(words, step), -number) for number, words in siblings), default=(0.0, 0))
    return -best[1] if best[0] >= tau else None


# ---------------------------------------------------------------- pairs


@dataclass(frozen=True, slots=True)
class StepPair:
    """Two steps after one prefix, the better first; `num_leaves` are those of the node that has fewer."""

    prefix: tuple[str, ...]
    chosen: str
    rejected: str
    margin: float
    depth: int
    num_leaves: int


def sibling_pairs(tree: Tree, delta: float, min_leaves: int = 1) -> list[StepPair]:
    """Every two siblings whose values differ by more than `delta`; nothing is compared across prefixes.

    A value that rests on fewer than `min_leaves` attempts is taken for noise.
    """
    children: dict[int, list[int]] = {}
    for number, node in enumerate(tree.nodes[1:], start=1):
        if len(node.leaves) >= min_leaves:
            children.setdefault(node.parent, []).append(number)
    pairs = []
    for first, second in (two for siblings in children.values() for two in itertools.combinations(siblings, 2)):
        high, low = sorted((tree.nodes[first], tree.nodes[second]), key=lambda node: -node.value)
        if high.value - low.value > delta:
            num_leaves, margin = min(len(high.leaves), len(low.leaves)), high.value - low.value
            pairs.append(StepPair(tree.prefix(first), high.step, low.step, margin, high.depth, num_leaves))
    return pairs


def whole_pairs(answers: Sequence[str], rewards: Sequence[float], delta: float) -> list[StepPair]:
    """Pairs of whole answers as they were scored, one by one: the tree of depth one, in which nothing is merged."""
    scored = sorted(zip(answers, rewards, strict=True), key=lambda one: -one[1])
    return [
        StepPair((), better, worse, high - low, 1, 1)
        for (better, high), (worse, low) in itertools.combinations(scored, 2)
        if high - low > delta and better != worse
    ]


def count_by_depth(pairs: Iterable[StepPair]) -> dict[int, int]:
    """How many pairs there are at each depth; all at depth 1 means that the tree is a star, and tau too high."""
    return dict(sorted(Counter(pair.depth for pair in pairs).items()))


# ---------------------------------------------------------------- a judge of steps


@dataclass(frozen=True)
class FromTree:
    """Judges as `outcome` does, and scores every turn of an agent by what it gained in the tree of its task's attempts.

    A step is a turn, so that its tokens are known exactly; its span has V(node) - V(parent).
    """

    outcome: Judge | Check = by_task
    tau: float = 1.0

    def __call__(self, episodes: Sequence[Episode]) -> list[Score]:
        """One score per episode, with a span per turn."""
        scores = [_alone(given) for given in lift(self.outcome)(episodes)]
        if any(len(e.traces) != 1 for e in episodes):
            raise BadInput("scores of steps are for one agent", where="FromTree", got="a team", wanted="one seat")
        traces = [replace(e.traces[0], score=s) for e, s in zip(episodes, scores, strict=True)]
        spans = spans_from_tree(traces, self.tau)
        return [replace(score, spans=found) for score, found in zip(scores, spans, strict=True)]


def spans_from_tree(traces: Sequence[Trace], tau: float = 1.0) -> list[tuple[Span, ...]]:
    """What each turn that the agent spoke gained in the tree of these traces, which attempt one task and are scored."""
    spoken = [[i for i, turn in enumerate(t.turns) if turn.message.role == "assistant"] for t in traces]
    words = [[_words(trace, i) for i in numbers] for trace, numbers in zip(traces, spoken, strict=True)]
    tree = grow(words, [t.score.value if t.score else 0.0 for t in traces], tau)
    return [
        tuple(
            Span(number, 0, len(trace.turns[number].tokens), gain)
            for number, gain in zip(numbers, tree.gains(attempt), strict=True)
        )
        for attempt, (trace, numbers) in enumerate(zip(traces, spoken, strict=True))
    ]


def _words(trace: Trace, number: int) -> str:
    """What was said in a turn: its words and its calls."""
    message = trace.turns[number].message
    calls = (
        f"{c.name} {dict(sorted(c.arguments.items())) if c.arguments is not None else c.raw}" for c in message.calls
    )
    return "\n".join((message.text, *calls))


def _alone(given: Any) -> Score:
    if not isinstance(given, Score):
        raise BadInput("scores of steps are for one agent", where="FromTree.outcome", got="a score for each role")
    return given


# ---------------------------------------------------------------- using scores of steps


def least(scores: Sequence[float]) -> float:
    """As good as the worst step."""
    return min(scores)


def mean(scores: Sequence[float]) -> float:
    """As good as the steps are on average."""
    return math.fsum(scores) / len(scores)


def last(scores: Sequence[float]) -> float:
    """What is thought of the whole at its end, as an outcome reward model says it."""
    return scores[-1]


def best_of(candidates: Sequence[Sequence[float]], whole: Callable[[Sequence[float]], float]) -> int:
    """The place of the best candidate, each given by the scores of its steps; the first of equals."""
    worth = [whole(scores) for scores in candidates]
    return worth.index(max(worth))


def beam_search(
    starts: Sequence[State],
    expand: Callable[[int, Sequence[State]], Sequence[State]],
    score: Callable[[Sequence[tuple[int, State]]], Sequence[float]],
    *,
    width: int,
    num_steps: int,
) -> list[State]:
    """The best state of each search after `num_steps`, the `width` best kept after every step; the first of equals.

    Searches go side by side, so that all their states are scored together: `expand(number, beam)` gives the states that
    follow those of search `number`, `score` takes (number, state).
    """
    beams: list[list[State]] = [[start] for start in starts]
    for _ in range(num_steps):
        grown = [(number, state) for number, beam in enumerate(beams) for state in expand(number, beam)]
        ranked: dict[int, list[tuple[float, State]]] = {}
        for (number, state), worth in zip(grown, score(grown), strict=True):
            ranked.setdefault(number, []).append((worth, state))
        for number, found in ranked.items():  # a search that grows no further keeps its beam
            beams[number] = [state for _, state in sorted(found, key=lambda pair: -pair[0])[:width]]
    return [beam[0] for beam in beams]
