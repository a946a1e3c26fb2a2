"""Rows into pairs of attempts at one task, and into micro-batches that never part them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from evolvent.credit.batch import Row
from evolvent.errors import BadInput


def pairs_of(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Positions of every two rows of one group, in order; a group of n makes n (n - 1) / 2."""
    found: dict[tuple[str | int, ...], list[int]] = {}
    for i, row in enumerate(rows):
        found.setdefault(row.group, []).append(i)
    for members in found.values():
        _check_whole([rows[i] for i in members])
    return [pair for members in found.values() for pair in itertools.combinations(members, 2)]


def pack_whole_groups(rows: Sequence[Row], max_tokens: int) -> list[tuple[Row, ...]]:
    """Micro-batches of at most `max_tokens` positions (rows x longest) that hold groups whole, in order of their keys.

    A row without a sibling, whose others were left out, stays and makes no pair.
    """
    ordered = sorted(rows, key=lambda r: ([str(part) for part in r.group], r.trace))
    packs: list[list[Row]] = []
    for key, members in itertools.groupby(ordered, key=lambda r: r.group):
        group = list(members)
        if _num_positions(group) > max_tokens:
            raise BadInput(
                "a group is larger than a micro-batch",
                where="micro_tokens",
                got=max_tokens,
                wanted=f">= {_num_positions(group)}, so that the pairs of {key[0]} meet",
                cure=f"set micro_tokens={_num_positions(group)}, or lower group_size",
            )
        if packs and _num_positions([*packs[-1], *group]) <= max_tokens:
            packs[-1] += group
        else:
            packs.append(group)
    return [tuple(pack) for pack in packs]


def _num_positions(rows: Sequence[Row]) -> int:
    return len(rows) * max(len(r.tokens) for r in rows)


def _check_whole(group: Sequence[Row]) -> None:
    """A trace that went on in a fresh context is several rows, and no one action to compare."""
    traces = [row.trace for row in group]
    if len(set(traces)) < len(traces):
        raise BadInput(
            "a pair needs traces of one context",
            where=f"task {traces[0][0]}",
            got=f"{len(traces)} contexts of {len(set(traces))} traces",
            wanted="one context a trace",
            cure="a workflow that never starts a context anew, or a loss without pairs",
        )
