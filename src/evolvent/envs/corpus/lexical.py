"""Ranks texts by the words that they share with a query: BM25, by the bm25s library (extra `[corpus]`)."""

# N texts

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from evolvent.errors import BadInput, MissingExtra

WORD = re.compile(r"\w+")

Words = Callable[[str], list[str]]
"""How a text falls into words."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A text that was found: its position among the texts, and how well it fits."""

    position: int
    score: float


class Ranker(Protocol):
    """Anything that puts texts in order for a query."""

    def rank(self, query: str, k: int) -> tuple[Hit, ...]:
        """The `k` best, best first; of equal ones the earlier text comes first."""
        ...


def split_words(text: str) -> list[str]:
    """Letters and digits in lower case; nothing is stemmed or left out."""
    return WORD.findall(text.lower())


class Bm25:
    """An index over texts: the sum over a query's words, with repetitions, of idf tf / (tf + k1 (1 - b + b length)).

    idf = ln(1 + (N - n + 1/2) / (n + 1/2)), the length is relative to the mean (Lucene's form); k1 and b are
    Anserini's defaults. A text that shares no word with the query is not found.
    """

    def __init__(self, texts: Sequence[str], k1: float = 0.9, b: float = 0.4, words: Words = split_words) -> None:
        self.words = words
        split = [words(text) for text in texts]
        if not any(split):
            raise BadInput("there is nothing to index", where="Bm25", got=f"{len(texts)} texts without a word")
        self._index = _library().BM25(k1=k1, b=b, method="lucene", dtype="float64")
        self._index.index(split, show_progress=False)
        self.num_texts = len(split)

    def scores(self, query: str) -> np.ndarray:
        """A score for each text, 0 where no word is shared."""
        known = [word for word in self.words(query) if word in self._index.vocab_dict]
        if not known:
            return np.zeros(self.num_texts)
        score_N: np.ndarray = self._index.get_scores(known)
        return score_N

    def rank(self, query: str, k: int) -> tuple[Hit, ...]:
        """The `k` best texts that share a word with the query."""
        return best(self.scores(query), k, least=0.0)


def best(score_N: np.ndarray, k: int, least: float = -np.inf) -> tuple[Hit, ...]:
    """The `k` highest scores above `least`, highest first; of equal ones the earlier comes first."""
    order_N = np.argsort(-score_N, kind="stable")[: max(0, k)]
    return tuple(Hit(int(i), float(score_N[i])) for i in order_N if score_N[i] > least)


def _library() -> Any:
    try:
        return importlib.import_module("bm25s")
    except ImportError as error:
        raise MissingExtra("bm25s is not installed", where="corpus", cure="pip install 'evolvent[corpus]'") from error
