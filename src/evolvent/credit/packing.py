"""Rows into micro-batches by a budget of tokens: by group where rows share their start, else by length."""

from __future__ import annotations

from collections.abc import Sequence

from evolvent.credit.batch import Row
from evolvent.errors import BadInput
from evolvent.models.layout import cut_by_length

PACK_COST = 256  # what a padded micro-batch costs beside its tokens, in tokens: kernel launches and small products


def pack_by_group(rows: Sequence[Row], max_tokens: int) -> list[tuple[Row, ...]]:
    """Micro-batches of at most `max_tokens` tokens, about equally full, the rows of a group side by side.

    A prompt that a group shares is counted once. Every row is in exactly one micro-batch.
    """
    ordered = sorted(rows, key=lambda r: ([str(part) for part in r.group], r.trace))
    _check(ordered, max_tokens)
    costs = [_cost(row, before) for before, row in zip([None, *ordered], ordered, strict=False)]
    share = sum(costs) / max(1, -(-sum(costs) // max_tokens))
    packs: list[list[Row]] = []
    held = 0
    for row, cost in zip(ordered, costs, strict=True):
        if packs and held < share and held + cost <= max_tokens:
            packs[-1].append(row)
            held += cost
        else:  # a row that opens a micro-batch brings its prompt with it
            packs.append([row])
            held = len(row.tokens)
    return [tuple(p) for p in packs]


def pack_by_length(rows: Sequence[Row], max_tokens: int) -> list[tuple[Row, ...]]:
    """Micro-batches whose padded size (rows x longest) stays within `max_tokens`; every row is in exactly one.

    Rows are sorted by length and cut into runs; of all cuts the one with the least padded size plus PACK_COST a run
    is taken.
    """
    ordered = sorted(rows, key=lambda r: (-len(r.tokens), r.trace))
    _check(ordered, max_tokens)
    stops = cut_by_length([len(r.tokens) for r in ordered], max_tokens, PACK_COST)
    return [tuple(ordered[a:b]) for a, b in zip([0, *stops], stops, strict=False)]


def _cost(row: Row, before: Row | None) -> int:
    """Tokens that a row adds behind the row before it: all, or what stands behind a prompt that they share."""
    prompt = int(row.mask.argmax()) if row.mask.any() else 0
    if before is None or before.group != row.group or len(before.tokens) <= prompt:
        return len(row.tokens)
    shares = bool((before.tokens[:prompt] == row.tokens[:prompt]).all())
    return len(row.tokens) - prompt * shares


def _check(rows: Sequence[Row], max_tokens: int) -> None:
    longest = max((len(r.tokens) for r in rows), default=0)
    if longest > max_tokens:
        raise BadInput(
            "a trace is longer than a micro-batch",
            where="micro_tokens",
            got=max_tokens,
            wanted=f">= {longest}",
            cure=f"set micro_tokens={longest} or lower budgets.context_tokens",
        )
