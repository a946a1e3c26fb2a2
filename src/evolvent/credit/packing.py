"""Rows into micro-batches by a budget of tokens, cut where padding costs more than another micro-batch would."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evolvent.credit.batch import Row
from evolvent.errors import BadInput

PACK_COST = 256  # what a micro-batch costs beside its tokens, in tokens: kernel launches and small products


def pack(rows: Sequence[Row], max_tokens: int) -> list[tuple[Row, ...]]:
    """Micro-batches whose padded size (rows x longest) stays within `max_tokens`; every row is in exactly one.

    Rows are sorted by length and cut into runs; of all cuts the one with the least padded size plus PACK_COST a run
    is taken, by dynamic programming from the shortest row upwards.
    """
    ordered = sorted(rows, key=lambda r: (-len(r.tokens), r.trace))
    lengths = [len(r.tokens) for r in ordered]
    if lengths and lengths[0] > max_tokens:
        raise BadInput(
            "a trace is longer than a micro-batch",
            where="micro_tokens",
            got=max_tokens,
            wanted=f">= {lengths[0]}",
            cure=f"set micro_tokens={lengths[0]} or lower budgets.context_tokens",
        )
    ends = _cut(lengths, max_tokens)
    packs, start = [], 0
    while start < len(ordered):
        packs.append(tuple(ordered[start : ends[start]]))
        start = ends[start]
    return packs


def _cut(lengths: Sequence[int], max_tokens: int) -> list[int]:
    """For each row, where the micro-batch that begins with it ends, at the least cost from there on."""
    num = len(lengths)
    cost = np.zeros(num + 1)
    ends = [num] * num
    for start in range(num - 1, -1, -1):
        longest = max(lengths[start], 1)
        most = min(num - start, max_tokens // longest)
        sizes = longest * np.arange(1, most + 1) + PACK_COST + cost[start + 1 : start + 1 + most]
        best = int(sizes.argmin())
        cost[start], ends[start] = sizes[best], start + 1 + best
    return ends


def padding_share(packs: Sequence[Sequence[Row]]) -> float:
    """The share of positions that hold no token."""
    held = sum(len(r.tokens) for p in packs for r in p)
    size = sum(max(len(r.tokens) for r in p) * len(p) for p in packs)
    return 1 - held / size if size else 0.0
