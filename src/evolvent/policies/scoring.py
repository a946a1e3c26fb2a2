"""What a local policy thinks of given tokens: log-probabilities, and the likeliest tokens in their place."""

# B rows, T tokens, M predictions, V vocabulary, K likeliest

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from evolvent.policies.decode import pad_right

if TYPE_CHECKING:
    from evolvent.models.layout import Layout
    from evolvent.policies.local import LocalPolicy

MAX_TOKENS = 4096  # of rows read together, padding included
MAX_PLACES = 256  # in one table of scores, which is as wide as the vocabulary


@dataclass(frozen=True, slots=True)
class Scored:
    """Log-probabilities (temperature 1) of a row's tokens behind its first, and the likeliest with theirs."""

    logprobs: tuple[float, ...]
    tops: tuple[tuple[tuple[int, float], ...], ...]


@torch.no_grad()
def score_rows(policy: LocalPolicy, rows: Sequence[Sequence[int]], num_top: int) -> list[Scored]:
    """One Scored a row, in order, with `num_top` likeliest tokens in every place."""
    made: list[Scored] = []
    for some in _blocks(rows):
        token_BT = pad_right(some, policy.pad_id, "cpu").numpy()
        length_B1 = np.array([len(row) for row in some])[:, None]
        place_T = np.arange(token_BT.shape[1])
        mask_BT = (place_T > 0) & (place_T < length_B1)
        if mask_BT.any():
            own_M, token_MK, value_MK = _judged(policy, policy.lay_out(token_BT, mask_BT), num_top)
            made += _apart(own_M, token_MK, value_MK, [len(row) - 1 for row in some])
        else:
            made += [Scored((), ())] * len(some)
    return made


def _judged(
    policy: LocalPolicy, layout: Layout, num_top: int
) -> tuple[list[float], list[list[int]], list[list[float]]]:
    """For every prediction: the token's own log-probability, the likeliest tokens, and theirs."""
    own: list[float] = []
    tokens: list[list[int]] = []
    values: list[list[float]] = []
    at = 0
    for logits_MV in policy.logits(layout, MAX_PLACES):
        logprob_MV = logits_MV.float().log_softmax(-1)
        target_M = layout.target_M[at : at + len(logprob_MV)]
        own += logprob_MV.gather(-1, target_M[:, None])[:, 0].tolist()
        top = logprob_MV.topk(min(num_top, logprob_MV.shape[-1]), -1)
        tokens += top.indices.tolist()
        values += top.values.tolist()
        at += len(logprob_MV)
    return own, tokens, values


def _apart(
    own: list[float], tokens: list[list[int]], values: list[list[float]], lengths: Sequence[int]
) -> Iterator[Scored]:
    at = 0
    for length in lengths:
        part = slice(at, at + length)
        pairs = zip(tokens[part], values[part], strict=True)
        yield Scored(tuple(own[part]), tuple(tuple(zip(t, v, strict=True)) for t, v in pairs))
        at += length


def _blocks(rows: Sequence[Sequence[int]]) -> Iterator[list[Sequence[int]]]:
    """Rows in order, as many together as their padded tokens allow."""
    block: list[Sequence[int]] = []
    for row in rows:
        if block and max(len(row), *map(len, block)) * (len(block) + 1) > MAX_TOKENS:
            yield block
            block = []
        block.append(row)
    if block:
        yield block
