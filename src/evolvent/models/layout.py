"""Rows of tokens laid flat for one forward pass: a start that rows share stands once, and next to nothing is padding.

A group of attempts repeats its prompt; a trainer that pads rows to a rectangle computes it once per attempt. Here the
rows form a tree of segments, each computed once, and a segment attends to all segments on the way to its root.
"""

# B rows, T tokens, N flat positions, M predictions, S tokens of a segment
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

MIN_SHARED = 32  # tokens that a segment of its own must save
BLOCK_COST = 16  # what one more block costs, in tokens: its kernel launches


@dataclass(frozen=True, slots=True)
class Block:
    """Segments of about one length: `rows` x `length` flat positions from `start`, padded at the end.

    `keys` (rows, T) are the flat positions of a segment's whole past and of itself, and `mask` (rows, 1, length, T) is
    added to the scores; without them a segment begins its row and is all its past.
    """

    start: int
    rows: int
    length: int
    keys: Tensor | None = None
    mask: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """Flat tokens with their positions and blocks; prediction m is read at `read_M[m]` and is of `target_M[m]`.

    Predictions stand in the order of the rows; the token that m is of stands at `own_M[m]`, or nowhere (-1) where
    nothing behind it is predicted. `num_tokens` counts what the rows hold, `num_computed` what is left
    when shared starts are counted once; the other positions are padding.
    """

    token_N: Tensor
    position_N: Tensor
    blocks: tuple[Block, ...]
    read_M: Tensor
    target_M: Tensor
    own_M: Tensor
    num_tokens: int
    num_computed: int

    @property
    def num_positions(self) -> int:
        """How many positions are computed, padding included."""
        return self.token_N.shape[0]


class _Segment(NamedTuple):
    """Tokens `begin` to `end` that the sorted rows `first` to `last` share."""

    first: int
    last: int
    begin: int
    end: int


def lay_flat(token_BT: np.ndarray, mask_BT: np.ndarray, pad_id: int, device: object) -> Layout:
    """The tree of segments of these rows (int64, padded anyhow), to predict the tokens where `mask_BT` (bool).

    The mask is False at position 0 and in the padding. What stands behind a row's last prediction is not computed.
    """
    end_B = _last_read(mask_BT)
    seen_BT = np.where(np.arange(token_BT.shape[1]) < end_B[:, None], token_BT, -1)
    order_B = np.lexsort(seen_BT.T[::-1])
    seen_BT, end_B = seen_BT[order_B], end_B[order_B]
    segments = _share(_common(seen_BT), end_B)
    groups = _group(segments)
    size = sum(len(g) * (g[0].end - g[0].begin) for g in groups)
    token_N = np.full(size, pad_id, dtype=np.int64)
    position_N = np.zeros(size, dtype=np.int64)
    spot_BT = np.zeros(seen_BT.shape, dtype=np.int64)
    starts, start = [], 0
    for group in groups:
        starts.append(start)
        length = group[0].end - group[0].begin
        for s in group:
            spot = np.arange(start, start + s.end - s.begin)
            token_N[spot] = seen_BT[s.first, s.begin : s.end]
            position_N[start : start + length] = np.arange(s.begin, s.begin + length)
            spot_BT[s.first : s.last, s.begin : s.end] = spot
            start += length
    row_M, place_M = np.nonzero(mask_BT)
    rank_B = np.argsort(order_B)
    return Layout(
        token_N=_tensor(token_N, device),
        position_N=_tensor(position_N, device),
        blocks=tuple(_block(g, s, spot_BT, device) for g, s in zip(groups, starts, strict=True)),
        read_M=_tensor(spot_BT[rank_B[row_M], place_M - 1], device),
        target_M=_tensor(token_BT[row_M, place_M], device),
        own_M=_tensor(np.where(place_M < end_B[rank_B[row_M]], spot_BT[rank_B[row_M], place_M], -1), device),
        num_tokens=int(end_B.sum()),
        num_computed=sum(s.end - s.begin for s in segments),
    )


def lay_padded(token_BT: np.ndarray, mask_BT: np.ndarray, pad_id: int, device: object) -> Layout:
    """The same rows as one rectangle, for models that want one."""
    end_B = _last_read(mask_BT)
    num, length = len(end_B), int(end_B.max(initial=0))
    is_read_BT = np.arange(length) < end_B[:, None]
    row_M, place_M = np.nonzero(mask_BT)
    return Layout(
        token_N=_tensor(np.where(is_read_BT, token_BT[:, :length], pad_id).reshape(-1), device),
        position_N=_tensor(np.tile(np.arange(length), num), device),
        blocks=(Block(0, num, length),),
        read_M=_tensor(row_M * length + place_M - 1, device),
        target_M=_tensor(token_BT[row_M, place_M], device),
        own_M=_tensor(np.where(place_M < end_B[row_M], row_M * length + place_M, -1), device),
        num_tokens=int(end_B.sum()),
        num_computed=int(end_B.sum()),
    )


def cut_by_length(lengths: Sequence[int], most: int, cost: int) -> list[int]:
    """Where each run of a list, longest first, ends, so that padding plus `cost` a run is least.

    A run's size (members x its longest) stays within `most`. By dynamic programming from the shortest upwards.
    """
    num = len(lengths)
    least = np.zeros(num + 1)
    ends = [num] * num
    for start in range(num - 1, -1, -1):
        longest = max(lengths[start], 1)
        fit = max(1, min(num - start, most // longest))
        sizes = longest * np.arange(1, fit + 1) + cost + least[start + 1 : start + 1 + fit]
        best = int(sizes.argmin())
        least[start], ends[start] = sizes[best], start + 1 + best
    runs, start = [], 0
    while start < num:
        start = ends[start]
        runs.append(start)
    return runs


def _last_read(mask_BT: np.ndarray) -> np.ndarray:
    # a row's last prediction is read one token before its target, so as many tokens are needed as stand before that
    last_B: np.ndarray = mask_BT.shape[1] - 1 - mask_BT[:, ::-1].argmax(1)
    return np.where(mask_BT.any(1), last_B, 0)


def _common(seen_BT: np.ndarray) -> np.ndarray:
    """How many tokens each sorted row shares with the one before it; 0 for the first."""
    differs_BT = (seen_BT[1:] != seen_BT[:-1]) | (seen_BT[1:] < 0)
    num_B = np.where(differs_BT.any(1), differs_BT.argmax(1), seen_BT.shape[1])
    return np.concatenate([[0], num_B])


def _share(common_B: np.ndarray, end_B: np.ndarray) -> list[_Segment]:
    """Segments of the tree over sorted rows: one for every start that is worth computing once."""
    found, open_ranges = [], [(0, len(end_B), 0)]
    while open_ranges:
        first, last, begin = open_ranges.pop()
        if last - first == 1:
            end = int(end_B[first])
            cuts = []
        else:
            shared = int(common_B[first + 1 : last].min())
            end = shared if (shared - begin) * (last - first - 1) >= MIN_SHARED else begin
            inner = first + 1 + np.flatnonzero(common_B[first + 1 : last] == shared)
            cuts = [first, *inner.tolist(), last]
        if end > begin:
            found.append(_Segment(first, last, begin, end))
        open_ranges += [(a, b, end) for a, b in pairwise(cuts)]
    return found


def _group(segments: Sequence[_Segment]) -> list[list[_Segment]]:
    """Segments that stand in one block: those that begin a row apart from the others, longest first."""
    groups = []
    for begins_row in (True, False):
        some = [s for s in segments if (s.begin == 0) == begins_row]
        some.sort(key=lambda s: (s.begin - s.end, -s.end, s.first))
        stops = cut_by_length([s.end - s.begin for s in some], 1 << 60, BLOCK_COST)
        groups += [some[a:b] for a, b in zip([0, *stops], stops, strict=False)]
    return groups


def _block(group: Sequence[_Segment], start: int, spot_BT: np.ndarray, device: object) -> Block:
    length = group[0].end - group[0].begin
    if group[0].begin == 0:
        return Block(start, len(group), length)
    longest = max(s.end for s in group)
    begin_S = np.array([s.begin for s in group])
    own_ST = np.arange(longest) < np.array([s.end for s in group])[:, None]
    keys_ST = np.where(own_ST, spot_BT[[s.first for s in group], :longest], 0)
    is_later = np.arange(longest) > begin_S[:, None, None] + np.arange(length)[:, None]
    mask = np.where(is_later, np.float32("-inf"), np.float32(0))[:, None]
    return Block(start, len(group), length, _tensor(keys_ST, device), _tensor(mask, device))


def _tensor(array: np.ndarray, device: object) -> Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(array)).to(device)  # type: ignore[call-overload, no-any-return]
