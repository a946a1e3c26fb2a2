"""Documents as a world: search by words or by meaning, and fetch."""

from evolvent.envs.corpus.dense import Dense, EmbeddingsAt, Fused, PooledStates, fuse, pool
from evolvent.envs.corpus.lexical import Bm25, Hit, Ranker, split_words
from evolvent.envs.corpus.world import Corpus, OpenCorpus, Shelf
from evolvent.tasks.documents import Document

__all__ = [
    "Bm25",
    "Corpus",
    "Dense",
    "Document",
    "EmbeddingsAt",
    "Fused",
    "Hit",
    "OpenCorpus",
    "PooledStates",
    "Ranker",
    "Shelf",
    "fuse",
    "pool",
    "split_words",
]
