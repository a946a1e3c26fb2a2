"""Ranks texts by the direction of their embeddings, and joins several rankings into one."""

# N texts, W width

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evolvent.envs.corpus.lexical import Hit, Ranker, best
from evolvent.errors import BadInput, InfrastructureError

RANK_CONSTANT = 60  # Cormack, Clarke and Buettcher 2009
MAX_TOGETHER = 64  # texts that are embedded at once

Embed = Callable[[Sequence[str]], Any]
"""Texts to vectors, one row each."""


class Dense:
    """An index over texts by cosine; a query may also be a vector."""

    def __init__(self, texts: Sequence[str], embed: Embed) -> None:
        self.embed = embed
        self._text_NW = unit(vectors(embed, texts))

    def rank(self, query: str, k: int) -> tuple[Hit, ...]:
        """The `k` nearest texts."""
        return self.rank_vector(vectors(self.embed, [query])[0], k)

    def rank_vector(self, vector_W: np.ndarray, k: int) -> tuple[Hit, ...]:
        """The `k` texts nearest to a vector."""
        return best(self._text_NW @ unit(vector_W[None])[0], k)


@dataclass(frozen=True)
class Fused:
    """Several rankings as one: a text earns 1 / (60 + its place) in each."""

    rankers: tuple[Ranker, ...]
    depth: int = 100

    def rank(self, query: str, k: int) -> tuple[Hit, ...]:
        """The `k` texts that earn most, each looked for among the `depth` first of every ranking."""
        return fuse([ranker.rank(query, max(k, self.depth)) for ranker in self.rankers])[:k]


def fuse(rankings: Sequence[Sequence[Hit]]) -> tuple[Hit, ...]:
    """Every text that stands in a ranking, by what it earns in all of them together."""
    earned: dict[int, float] = {}
    for ranking in rankings:
        for place, hit in enumerate(ranking, start=1):
            earned[hit.position] = earned.get(hit.position, 0.0) + 1 / (RANK_CONSTANT + place)
    order = sorted(earned, key=lambda position: (-earned[position], position))
    return tuple(Hit(position, earned[position]) for position in order)


def vectors(embed: Embed, texts: Sequence[str]) -> np.ndarray:
    """The embeddings of texts (N, W), a few texts at a time."""
    parts = [embed(texts[i : i + MAX_TOGETHER]) for i in range(0, len(texts), MAX_TOGETHER)]
    vector_NW = np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])
    if vector_NW.ndim != 2 or len(vector_NW) != len(texts) or not np.isfinite(vector_NW).all():
        raise BadInput(
            "embeddings must be one row of finite numbers for each text",
            where=getattr(embed, "__name__", type(embed).__name__),
            got=f"shape {vector_NW.shape} for {len(texts)} texts",
        )
    return vector_NW


def unit(vector_NW: np.ndarray) -> np.ndarray:
    """Rows of length one; a row of zeros stays."""
    length_N1 = np.linalg.norm(vector_NW, axis=-1, keepdims=True)
    scaled_NW: np.ndarray = vector_NW / np.where(length_N1 == 0, 1, length_N1)
    return scaled_NW


@dataclass(frozen=True)
class PooledStates:
    """Embeds by the mean of the last hidden states of a model in a folder (or of a hub id)."""

    model: str
    device: str = "auto"

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """One unit vector per text."""
        return pool(*_loaded(self.model, self.device), texts)


def pool(model: Any, tokenizer: Any, texts: Sequence[str]) -> np.ndarray:
    """The mean of a model's last hidden states over each text's tokens, as unit vectors."""
    import torch

    from evolvent.models.heads import pooled_embedding

    rows = [tokenizer.encode(text, add_special_tokens=False) or [tokenizer.eos_token_id] for text in texts]
    longest = max(map(len, rows))
    padded = [row + [tokenizer.pad_token_id or 0] * (longest - len(row)) for row in rows]
    token_BT = torch.tensor(padded, device=model.device)
    length_B = torch.tensor([len(row) for row in rows], device=model.device)
    pooled_BW: np.ndarray = pooled_embedding(model, token_BT, length_B).cpu().numpy()
    return pooled_BW


@dataclass(frozen=True)
class EmbeddingsAt:
    """Embeds by an OpenAI-compatible server: `url` ends where `/embeddings` would follow, usually in /v1."""

    url: str
    model: str
    api_key_env: str | None = None
    timeout_s: float = 60.0

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """One vector per text, in the order of the texts."""
        import httpx

        key = os.environ.get(self.api_key_env, "") if self.api_key_env else ""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        body = {"model": self.model, "input": list(texts), "encoding_format": "float"}
        url = self.url.rstrip("/") + "/embeddings"
        try:
            reply = httpx.post(url, json=body, headers=headers, timeout=self.timeout_s)
            reply.raise_for_status()
            rows = sorted(reply.json()["data"], key=lambda row: row["index"])
            return np.asarray([row["embedding"] for row in rows], dtype=np.float64)
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise InfrastructureError(
                "the server gave no embeddings", where=url, got=f"{type(error).__name__}: {error}"
            ) from error


@functools.lru_cache(maxsize=2)
def _loaded(model: str, device: str) -> tuple[Any, Any]:
    from evolvent.models.checkpoints import load

    return load(model, device=device)
