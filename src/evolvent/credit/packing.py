"""Rows into micro-batches by a budget of tokens, longest first, so that padding stays small."""

from __future__ import annotations

from collections.abc import Sequence

from evolvent.credit.batch import Row
from evolvent.errors import BadInput


def pack(rows: Sequence[Row], max_tokens: int) -> list[tuple[Row, ...]]:
    """Micro-batches whose padded size (rows x longest) stays within `max_tokens`; every row is in exactly one."""
    longest = max((len(r.tokens) for r in rows), default=0)
    if longest > max_tokens:
        raise BadInput(
            "a trace is longer than a micro-batch",
            where="micro_tokens",
            got=max_tokens,
            wanted=f">= {longest}",
            cure=f"set micro_tokens={longest} or lower budgets.context_tokens",
        )
    ordered = sorted(rows, key=lambda r: (-len(r.tokens), r.trace))
    packs: list[list[Row]] = []
    for row in ordered:
        if not packs or len(packs[-1][0].tokens) * (len(packs[-1]) + 1) > max_tokens:
            packs.append([])
        packs[-1].append(row)
    return [tuple(p) for p in packs]


def padding_share(packs: Sequence[Sequence[Row]]) -> float:
    """The share of positions that hold no token."""
    held = sum(len(r.tokens) for p in packs for r in p)
    size = sum(max(len(r.tokens) for r in p) * len(p) for p in packs)
    return 1 - held / size if size else 0.0
