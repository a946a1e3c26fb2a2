"""How much a text repeats the others that were written beside it: clusters by BLEU, and the share of each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from evolvent.errors import BadInput

Parts = Callable[[str], Sequence[str]]
SMOOTHED = 0.1  # stands for a count of 0 above single parts (method 1 of Chen and Cherry 2014)


def words(text: str) -> list[str]:
    """A text as words."""
    return text.split()


def characters(text: str) -> list[str]:
    """A text as characters, for problems that are one word."""
    return list(text)


@dataclass(frozen=True, slots=True)
class Repetition:
    """|cluster of a text| / number of texts: R-Zero, arXiv:2508.05004, section 3.2.

    The distance of two texts is 1 - BLEU, the mean of both directions; clusters are merged by average linkage while
    that is below `cut`. Of n equal texts each has share 1, of n unlike ones 1/n.
    """

    parts: Parts = words
    max_order: int = 4
    cut: float = 0.5  # R-Zero, released code

    def __post_init__(self) -> None:
        if self.max_order < 1 or not 0 <= self.cut <= 1:
            raise BadInput("no such clusters", where="Repetition", got=self, wanted="max_order >= 1, cut in 0..1")

    def __call__(self, texts: Sequence[str]) -> list[float]:
        """The share of each text's cluster."""
        labels = average_linkage(self.distances(texts), self.cut)
        sizes = Counter(labels)
        return [sizes[label] / len(texts) for label in labels]

    def distances(self, texts: Sequence[str]) -> np.ndarray:
        """1 - BLEU of each pair, in a symmetric matrix."""
        number = {text: i for i, text in enumerate(dict.fromkeys(texts))}  # equal texts are compared once
        counts = [ngrams(self.parts(text), self.max_order) for text in number]
        apart = np.zeros((len(counts), len(counts)))
        for i, one in enumerate(counts):
            for j, other in enumerate(counts[:i]):
                apart[i, j] = apart[j, i] = 1 - (bleu(one, other) + bleu(other, one)) / 2
        order = [number[text] for text in texts]
        found: np.ndarray = apart[np.ix_(order, order)]
        return found


Ngrams = list[Counter[tuple[str, ...]]]


def ngrams(parts: Sequence[str], max_order: int) -> Ngrams:
    """How often each run of 1, 2, ... parts occurs."""
    return [
        Counter(tuple(parts[i : i + order]) for i in range(len(parts) - order + 1)) for order in range(1, max_order + 1)
    ]


def bleu(candidate: Ngrams, reference: Ngrams) -> float:
    """BLEU of one candidate against one reference (Papineni et al. 2002), the mean of precisions being geometric.

    A precision of 0 counts as 0.1 / its number of runs, but no common part at all is 0.
    """
    length, wanted = candidate[0].total(), reference[0].total()
    shared = [(one & other).total() for one, other in zip(candidate, reference, strict=True)]
    if not shared[0]:
        return 0.0
    logs = [math.log((s or SMOOTHED) / max(c.total(), 1)) for s, c in zip(shared, candidate, strict=True)]
    return math.exp(min(0.0, 1 - wanted / length) + math.fsum(logs) / len(logs))


def average_linkage(distances: np.ndarray, cut: float) -> list[int]:
    """Clusters, numbered in order of first sight: the two nearest are merged as long as they are nearer than `cut`.

    The distance of two clusters is the mean over their pairs (UPGMA).
    """
    num = len(distances)
    apart = distances.astype(float).copy()
    np.fill_diagonal(apart, np.inf)
    sizes, owner = np.ones(num), list(range(num))
    while num and apart.min() < cut:
        i, j = sorted(divmod(int(apart.argmin()), num))
        merged = (sizes[i] * apart[i] + sizes[j] * apart[j]) / (sizes[i] + sizes[j])
        apart[i], apart[:, i] = merged, merged
        apart[i, i], apart[j], apart[:, j] = np.inf, np.inf, np.inf
        sizes[i] += sizes[j]
        owner = [i if o == j else o for o in owner]
    seen = {o: n for n, o in enumerate(dict.fromkeys(owner))}
    return [seen[o] for o in owner]
