"""Decoding on the fast path: a cache that never concatenates, and prompts that a group's rows read together."""

# R live rows, U prompts, G rows of a prompt, P prompt tokens, C tokens of a chunk, L cache columns, W width
# H heads, K heads with keys, g heads per head with keys, D head size, Q = g * C queries of a row
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812

from evolvent.models import fast
from evolvent.models.kernels import norm

if TYPE_CHECKING:
    from torch import Tensor

    from evolvent.models.fast_weights import FastWeights

BLOCK = 16  # columns by which a short cache grows: read whole it is contiguous, 2-3 times faster than a slice


@dataclass(frozen=True, slots=True)
class Prompts:
    """Keys and values (U, K, P, D) per layer of prompts that rows share, `length_U` tokens long."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    length_U: Tensor


class KVCache:
    """Keys and values of every layer, (rows, K, L, D) each; L grows by blocks up to what the rows need.

    With `prompts`, row r goes on where prompt `prompt_R[r]` ends, and only what follows stands in the row itself.
    The cache belongs to the weights as they are when it is made, and keeps their fused form: after an update make a
    new one.
    """

    def __init__(
        self, weights: FastWeights, rows: int, prompts: Prompts | None = None, prompt_R: Tensor | None = None
    ) -> None:
        # torch counts no version for fused optimizers or `.data`, so a shared fused copy could be stale unnoticed
        with torch.no_grad():
            self.layers = weights.layers()
        table = weights.embedding
        shape = (rows, weights.num_kv_heads, 0, weights.head_dim)
        self.keys = [torch.zeros(shape, dtype=table.dtype, device=table.device) for _ in self.layers]
        self.values = [torch.zeros(shape, dtype=table.dtype, device=table.device) for _ in self.layers]
        self.prompts, self.prompt_R = prompts, None if prompt_R is None else prompt_R.clone()
        self.table: _Table | None = None
        self.seat(rows)

    @property
    def rows(self) -> int:
        """How many rows there is room for."""
        return self.keys[0].shape[0]

    @property
    def max_len(self) -> int:
        """How many columns there is room for now."""
        return self.keys[0].shape[2]

    def grow(self, max_len: int) -> None:
        """Make room for `max_len` columns; what is stored stays."""
        if max_len > self.max_len:
            room = max_len + max_len // 8  # a long cache grows by more, so that copies stay a share of the reading
            pad = (0, 0, 0, BLOCK * -(-room // BLOCK) - self.max_len)
            self.keys = [F.pad(k, pad) for k in self.keys]
            self.values = [F.pad(v, pad) for v in self.values]

    def resize(self, rows: int, max_len: int) -> None:
        """Make room for so many rows and columns, no more and no fewer; what fits into it stays."""
        kept_rows, kept_len = min(rows, self.rows), min(max_len, self.max_len)
        for stores in (self.keys, self.values):
            for n, store in enumerate(stores):
                stores[n] = store.new_zeros(rows, store.shape[1], max_len, store.shape[3])
                stores[n][:kept_rows, :, :kept_len] = store[:kept_rows, :, :kept_len]

    def put(self, other: KVCache, start: int) -> None:
        """Write all rows of another cache over the rows from `start` on; there is room for them."""
        span = slice(start, start + other.rows)
        self.grow(other.max_len)
        for mine, theirs in zip((*self.keys, *self.values), (*other.keys, *other.values), strict=True):
            mine[span, :, : other.max_len] = theirs

    def take(self, row_R: Tensor) -> KVCache:
        """A new cache of these rows in this order (repeats allowed)."""
        taken = object.__new__(KVCache)
        taken.layers = self.layers
        taken.keys = [k.index_select(0, row_R) for k in self.keys]
        taken.values = [v.index_select(0, row_R) for v in self.values]
        taken.prompts, taken.table = self.prompts, None
        taken.prompt_R = None if self.prompt_R is None else self.prompt_R[row_R]
        taken.seat(len(row_R))
        return taken

    def swap(self, i: Tensor, j: Tensor) -> None:
        """Exchange rows i[n] and j[n] for every n; the two index tensors share no row."""
        seated = []
        if self.table is not None and self.prompt_R is not None:
            self.table = replace(self.table, is_full=False)
            seated = [self.prompt_R, self.table.chair_R]
        for store in (*self.keys, *self.values, *seated):
            held = store[i]
            store[i] = store[j]
            store[j] = held

    def as_prompts(self, length_U: Tensor) -> Prompts:
        """These rows as prompts of other caches."""
        longest = int(length_U.max())
        keys, values = (tuple(x[:, :, :longest].contiguous() for x in store) for store in (self.keys, self.values))
        return Prompts(keys, values, length_U)

    def seat(self, num_rows: int) -> None:
        """Put the first rows around their prompts; prompts without any row among them are left out from here on."""
        if self.prompts is not None and self.prompt_R is not None:
            self.table = _Table.lay(self.prompts, self.prompt_R, num_rows)


@torch.no_grad()
def chunk(
    weights: FastWeights, cache: KVCache, tokens_RC: Tensor, starts_R: Tensor, level: int | None = None
) -> Tensor:
    """Hidden states (R, C, W) of C more tokens for the first R rows; row r's stand at starts_R[r] and after.

    Keys and values are stored; each token attends to all stored positions of its row up to its own. `level` says that
    the next column of all R rows is that one, which saves looking for each row's own.
    """
    num_rows, num_new = tokens_RC.shape
    positions_RC = starts_R[:, None] + torch.arange(num_new, device=starts_R.device)
    columns_RC = _columns(cache, positions_RC, level)
    last = int(columns_RC.max()) + 1 if level is None else level + num_new
    cache.grow(last)
    spots = _spots(columns_RC, weights.num_kv_heads, cache.max_len) if level is None else None
    is_whole = level == 0 and cache.prompts is None and num_new > 1
    mask = None if is_whole else _mask(columns_RC, cache.max_len)
    rotation = weights.rotation(positions_RC)
    x_RCW = F.embedding(tokens_RC, weights.embedding)
    for n, layer in enumerate(cache.layers):
        query, key, value = fast.project(weights, layer, x_RCW, rotation)
        if spots is None:
            cache.keys[n][:num_rows, :, last - num_new : last] = key.transpose(1, 2)
            cache.values[n][:num_rows, :, last - num_new : last] = value.transpose(1, 2)
        else:
            cache.keys[n].view(-1, weights.head_dim).index_copy_(0, spots, key.reshape(-1, weights.head_dim))
            cache.values[n].view(-1, weights.head_dim).index_copy_(0, spots, value.reshape(-1, weights.head_dim))
        seen = fast.attend_causal(query, key, value) if mask is None else _attend(query, cache, n, mask, num_rows)
        x_RCW = fast.mix(weights, layer, x_RCW, seen)
    return norm(x_RCW, weights.final_norm, weights.eps)


def _attend(query_RCHD: Tensor, cache: KVCache, n: int, mask_R1CL: Tensor, num_rows: int) -> Tensor:
    # heads that share keys stand side by side as further queries, so that nothing is repeated
    R, C, H, D = query_RCHD.shape
    key_RKLD, value_RKLD = cache.keys[n][:num_rows], cache.values[n][:num_rows]
    K = key_RKLD.shape[1]
    query_RKQD = (query_RCHD * D**-0.5).view(R, C, K, H // K, D).permute(0, 2, 3, 1, 4).reshape(R, K, -1, D)
    mask = mask_R1CL if H == K or C == 1 else mask_R1CL.repeat(1, 1, H // K, 1)
    score = torch.matmul(query_RKQD, key_RKLD.transpose(-1, -2)).float().add_(mask)
    if cache.table is None:
        seen = torch.matmul(score.softmax(-1).to(query_RCHD.dtype), value_RKLD)
    else:
        before = cache.table.score(query_RKQD, n)
        weight = torch.cat((before, score), -1).softmax(-1).to(query_RCHD.dtype)
        longest = before.shape[-1]
        seen = torch.matmul(weight[..., longest:], value_RKLD).add_(cache.table.read(weight[..., :longest], n))
    return seen.view(R, K, H // K, C, D).permute(0, 3, 1, 2, 4).reshape(R, C, H * D)


@dataclass(frozen=True, slots=True)
class _Table:
    """Prompts with G chairs each; every row has one, so that a prompt is read once for all who sit there.

    `is_full` says that rows and chairs are as many and in one order.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    mask_U11P: Tensor | None
    chair_R: Tensor
    num_chairs: int
    is_full: bool

    @classmethod
    def lay(cls, prompts: Prompts, prompt_R: Tensor, num_rows: int) -> _Table:
        used_U, seat_R = torch.unique(prompt_R[:num_rows], return_inverse=True)
        order_R = torch.argsort(seat_R, stable=True)
        count_U = torch.bincount(seat_R, minlength=len(used_U))
        rank_R = torch.empty_like(seat_R)
        first_U = count_U.cumsum(0) - count_U
        rank_R[order_R] = torch.arange(num_rows, device=seat_R.device) - first_U[seat_R[order_R]]
        num_chairs = int(count_U.max())
        chair_R = torch.zeros_like(prompt_R)
        chair_R[:num_rows] = seat_R * num_chairs + rank_R
        keys, values, length_U = prompts.keys, prompts.values, prompts.length_U
        if len(used_U) < len(length_U):
            keys, values = (tuple(x.index_select(0, used_U) for x in store) for store in (keys, values))
            length_U = length_U[used_U]
        is_behind_UP = torch.arange(keys[0].shape[2], device=length_U.device) >= length_U[:, None]
        mask_UP = torch.zeros(is_behind_UP.shape, device=length_U.device).masked_fill_(is_behind_UP, float("-inf"))
        mask_U11P = mask_UP[:, None, None] if is_behind_UP.any() else None
        is_full = torch.equal(chair_R, torch.arange(len(used_U) * num_chairs, device=chair_R.device))
        return cls(keys, values, mask_U11P, chair_R, num_chairs, is_full)

    def score(self, query_RKQD: Tensor, n: int) -> Tensor:
        """Scores (R, K, Q, P) of every row's queries at its prompt."""
        score = torch.matmul(self._around(query_RKQD), self.keys[n].transpose(-1, -2)).float()
        return self._back(score if self.mask_U11P is None else score.add_(self.mask_U11P), *query_RKQD.shape[:3])

    def read(self, weight_RKQP: Tensor, n: int) -> Tensor:
        """What every row reads of its prompt, (R, K, Q, D)."""
        return self._back(torch.matmul(self._around(weight_RKQP), self.values[n]), *weight_RKQP.shape[:3])

    def _around(self, x_RKQ: Tensor) -> Tensor:
        # (R, K, Q, any) -> (U, K, G * Q, any); chairs whose row has ended hold nothing
        R, K, Q, size = x_RKQ.shape
        x = x_RKQ
        if not self._has_all(R):
            num_all = self.keys[0].shape[0] * self.num_chairs
            x = x_RKQ.new_zeros(num_all, K, Q, size).index_copy_(0, self.chair_R[:R], x_RKQ)
        return x.view(-1, self.num_chairs, K, Q, size).transpose(1, 2).reshape(-1, K, self.num_chairs * Q, size)

    def _back(self, x_UK: Tensor, R: int, K: int, Q: int) -> Tensor:
        size = x_UK.shape[-1]
        x = x_UK.view(-1, K, self.num_chairs, Q, size).transpose(1, 2).reshape(-1, K, Q, size)
        return x if self._has_all(R) else x.index_select(0, self.chair_R[:R])

    def _has_all(self, num_rows: int) -> bool:
        return self.is_full and num_rows == len(self.chair_R)


def _columns(cache: KVCache, positions_RC: Tensor, level: int | None) -> Tensor:
    # (R, C), or (1, C) where all rows stand at one level
    num_rows, num_new = positions_RC.shape
    if level is not None:
        return torch.arange(level, level + num_new, device=positions_RC.device)[None]
    if cache.prompts is None or cache.prompt_R is None:
        return positions_RC
    return positions_RC - cache.prompts.length_U[cache.prompt_R[:num_rows], None]


def _spots(columns_RC: Tensor, num_kv_heads: int, length: int) -> Tensor:
    # where each new key goes in the cache seen as (rows * K * L, D)
    rows_RCK = torch.arange(columns_RC.shape[0] * num_kv_heads, device=columns_RC.device)
    return (rows_RCK.view(-1, 1, num_kv_heads) * length + columns_RC[..., None]).flatten()


def _mask(columns_RC: Tensor, length: int) -> Tensor:
    later_RCL = torch.arange(length, device=columns_RC.device) > columns_RC[..., None]
    zeros = torch.zeros(later_RCL.shape, device=columns_RC.device)
    return zeros.masked_fill_(later_RCL, float("-inf"))[:, None]
