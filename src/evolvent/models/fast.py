"""The hot path: hidden states of Qwen3 and Llama models with few kernels, and decoding that never concatenates a cache.

Equal to transformers' forward up to rounding; `supports` says for which models.
"""

# N flat positions, M predictions, V vocabulary, B rows, R live rows, T tokens, C tokens of a chunk, L cache length
# W width, H heads, K heads with keys, D head size
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812

from evolvent.models.fast_weights import FastWeights, Layer, supports, why_not
from evolvent.models.layout import Block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = [
    "FastWeights",
    "KVCache",
    "chunk",
    "flat_hidden",
    "hidden",
    "logits",
    "score",
    "score_logits",
    "supports",
    "why_not",
]

MAX_SCORES = 1 << 26  # scores of the vocabulary that stand in memory at once, 256 MiB of float32
BLOCK = 32  # positions by which the cache grows: read whole it is contiguous, 2-3 times faster than a slice


class KVCache:
    """Keys and values of every layer, (rows, K, L, D) each; L grows by blocks up to what the rows need.

    It belongs to the weights as they are when it is made, and keeps their fused form: after an update make a new one.
    """

    def __init__(self, weights: FastWeights, rows: int, max_len: int = 0) -> None:
        # torch counts no version for fused optimizers or `.data`, so a shared fused copy could be stale unnoticed
        with torch.no_grad():
            self.layers = weights.layers()
        table = weights.embedding
        shape = (rows, weights.num_kv_heads, _blocks(max_len), weights.head_dim)
        num_layers = len(self.layers)
        self.keys = [torch.zeros(shape, dtype=table.dtype, device=table.device) for _ in range(num_layers)]
        self.values = [torch.zeros(shape, dtype=table.dtype, device=table.device) for _ in range(num_layers)]

    @property
    def rows(self) -> int:
        """How many rows there is room for."""
        return self.keys[0].shape[0]

    @property
    def max_len(self) -> int:
        """How many positions there is room for now."""
        return self.keys[0].shape[2]

    def grow(self, max_len: int) -> None:
        """Make room for `max_len` positions; what is stored stays."""
        if max_len > self.max_len:
            pad = (0, 0, 0, _blocks(max_len) - self.max_len)
            self.keys = [F.pad(k, pad) for k in self.keys]
            self.values = [F.pad(v, pad) for v in self.values]

    def take(self, rows_index: Tensor, max_len: int = 0) -> KVCache:
        """A new cache of these rows in this order (repeats allowed), cut or grown to `max_len` where that is given."""
        taken = object.__new__(KVCache)
        taken.layers = self.layers
        length = min(self.max_len, _blocks(max_len) or self.max_len)
        taken.keys = [k[:, :, :length].index_select(0, rows_index) for k in self.keys]
        taken.values = [v[:, :, :length].index_select(0, rows_index) for v in self.values]
        taken.grow(max_len)
        return taken

    def swap(self, i: Tensor, j: Tensor) -> None:
        """Exchange rows i[n] and j[n] for every n; the two index tensors share no row."""
        for store in (*self.keys, *self.values):
            held = store[i]
            store[i] = store[j]
            store[j] = held


def hidden(weights: FastWeights, tokens_BT: Tensor) -> Tensor:
    """Last hidden states (B, T, W) with gradient; rows are padded on the right, so causal order is mask enough."""
    num_rows, length = tokens_BT.shape
    position_N = torch.arange(length, device=tokens_BT.device).repeat(num_rows)
    blocks = (Block(0, num_rows, length),)
    return flat_hidden(weights, tokens_BT.flatten(), position_N, blocks).view(num_rows, length, -1)


def flat_hidden(weights: FastWeights, token_N: Tensor, position_N: Tensor, blocks: Sequence[Block]) -> Tensor:
    """Last hidden states (N, W) with gradient, of flat tokens that attend within their blocks (see `layout`)."""
    rotation = weights.rotation(position_N)
    # the padding token's vector learns nothing from being read, as in torch.nn.Embedding
    x_NW = F.embedding(token_N, weights.embedding, weights.model.model.embed_tokens.padding_idx)
    saves_memory = weights.model.model.gradient_checkpointing and torch.is_grad_enabled()
    for layer in weights.layers():
        if saves_memory:
            from torch.utils.checkpoint import checkpoint

            x_NW = checkpoint(_layer, weights, layer, x_NW, rotation, blocks, use_reentrant=False)
        else:
            x_NW = _layer(weights, layer, x_NW, rotation, blocks)
    return _norm(x_NW, weights.final_norm, weights.eps)


@torch.no_grad()
def chunk(weights: FastWeights, cache: KVCache, tokens_RC: Tensor, starts_R: Tensor, num_rows: int) -> Tensor:
    """Hidden states (R, C, W) of C more tokens for the first R rows; row r's stand at starts_R[r] and after.

    Keys and values are stored; each token attends to all stored positions of its row up to its own.
    """
    num_new = tokens_RC.shape[1]
    positions_RC = starts_R[:, None] + torch.arange(num_new, device=starts_R.device)
    is_prefill = num_new > 1 and not bool(starts_R.any())
    cache.grow(int(starts_R.max()) + num_new if num_rows else 0)
    rotation = weights.rotation(positions_RC)
    spots = _spots(positions_RC, weights.num_kv_heads, cache.max_len)
    mask = None if is_prefill else _mask(positions_RC, cache.max_len)
    x_RCW = F.embedding(tokens_RC, weights.embedding)
    for n, layer in enumerate(cache.layers):
        query, key, value = _project(weights, layer, x_RCW, rotation)
        cache.keys[n].view(-1, weights.head_dim).index_copy_(0, spots, key.reshape(-1, weights.head_dim))
        cache.values[n].view(-1, weights.head_dim).index_copy_(0, spots, value.reshape(-1, weights.head_dim))
        if mask is None:
            seen = _attend_causal(query, key, value)
        else:
            seen = _attend_cache(query, cache.keys[n][:num_rows], cache.values[n][:num_rows], mask)
        x_RCW = _mix(weights, layer, x_RCW, seen)
    return _norm(x_RCW, weights.final_norm, weights.eps)


def logits(weights: FastWeights, hidden: Tensor) -> Tensor:
    """Scores of the next token (..., V) from last hidden states (..., W)."""
    return F.linear(hidden, weights.model.lm_head.weight)


def score(weights: FastWeights, hidden_MW: Tensor, target_M: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and entropy of each prediction; where the vocabulary is large, a part at a time.

    Parts are computed again in the backward pass, so that no more than `MAX_SCORES` numbers stand in memory.
    """
    at_once = max(1, MAX_SCORES // weights.model.lm_head.weight.shape[0])
    if hidden_MW.shape[0] <= at_once:
        return score_logits(logits(weights, hidden_MW), target_M)
    from torch.utils.checkpoint import checkpoint

    def part(hidden: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return score_logits(logits(weights, hidden), target)

    pieces = zip(torch.split(hidden_MW, at_once), torch.split(target_M, at_once), strict=True)
    made = [checkpoint(part, hidden, target, use_reentrant=False) for hidden, target in pieces]
    return torch.cat([m[0] for m in made]), torch.cat([m[1] for m in made])


def score_logits(logits_MV: Tensor, target_M: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of each target with gradient, and entropy of each prediction without."""
    logprob_MV = logits_MV.float().log_softmax(-1)
    with torch.no_grad():
        entropy_M = -(logprob_MV.exp() * logprob_MV).sum(-1)
    return logprob_MV.gather(-1, target_M[:, None])[:, 0], entropy_M


def _layer(weights: FastWeights, layer: Layer, x_NW: Tensor, rotation: Tensor, blocks: Sequence[Block]) -> Tensor:
    query, key, value = _project(weights, layer, x_NW, rotation)
    return _mix(weights, layer, x_NW, _attend_blocks(query, key, value, blocks))


def _attend_blocks(query_NHD: Tensor, key_NKD: Tensor, value_NKD: Tensor, blocks: Sequence[Block]) -> Tensor:
    own_type = query_NHD.dtype
    if own_type == torch.bfloat16 and query_NHD.device.type == "cpu":  # there its backward is 2-4 times slower
        query_NHD, key_NKD, value_NKD = query_NHD.float(), key_NKD.float(), value_NKD.float()
    sizes = [b.rows * b.length for b in blocks]
    parts = zip(blocks, *(torch.split(x, sizes) for x in (query_NHD, key_NKD, value_NKD)), strict=True)
    seen = []
    for block, query, key, value in parts:
        shape = (block.rows, -1, *query.shape[1:])
        if block.keys is None or block.mask is None:
            seen.append(
                _attend_causal(query.view(shape), *(x.view(block.rows, -1, *x.shape[1:]) for x in (key, value)))
            )
        else:
            past = (x.index_select(0, block.keys.flatten()) for x in (key_NKD, value_NKD))
            read = (x.view(*block.keys.shape, *x.shape[1:]) for x in past)
            seen.append(_attend(query.view(shape), *read, attn_mask=block.mask.to(query.dtype)))
    return torch.cat([s.flatten(0, 1) for s in seen]).to(own_type)


def _project(weights: FastWeights, layer: Layer, x: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # one product for queries, keys and values; queries and keys are normed and rotated together
    num_q, num_k, size = weights.num_heads, weights.num_kv_heads, weights.head_dim
    qkv = F.linear(_norm(x, layer.attention_norm, weights.eps), layer.qkv, layer.qkv_bias)
    qkv = qkv.view(*x.shape[:-1], num_q + 2 * num_k, size)
    qk, value = torch.split(qkv, [num_q + num_k, num_k], -2)
    if layer.qk_scale is not None:
        qk = F.rms_norm(qk, (size,), None, weights.eps) * layer.qk_scale
    turned = torch.view_as_complex(qk.float().view(*qk.shape[:-1], size // 2, 2)) * rotation
    query, key = torch.split(torch.view_as_real(turned).flatten(-2).to(x.dtype), [num_q, num_k], -2)
    return query, key, value


def _mix(weights: FastWeights, layer: Layer, x: Tensor, seen: Tensor) -> Tensor:
    x = x + F.linear(seen, layer.out, layer.out_bias)
    gate, up = F.linear(_norm(x, layer.feedforward_norm, weights.eps), layer.gate_up, layer.gate_up_bias).chunk(2, -1)
    return x + F.linear(F.silu(gate) * up, layer.down, layer.down_bias)


def _attend_causal(query_BTHD: Tensor, key_BTKD: Tensor, value_BTKD: Tensor) -> Tensor:
    return _attend(query_BTHD, key_BTKD, value_BTKD, is_causal=True)


def _attend(query_BSHD: Tensor, key_BTKD: Tensor, value_BTKD: Tensor, **how: Any) -> Tensor:
    grouped = query_BSHD.shape[2] != key_BTKD.shape[2]
    query, key, value = (x.transpose(1, 2) for x in (query_BSHD, key_BTKD, value_BTKD))
    seen_BHSD = F.scaled_dot_product_attention(query, key, value, enable_gqa=grouped, **how)
    return seen_BHSD.transpose(1, 2).flatten(-2)


def _attend_cache(query_RCHD: Tensor, key_RKLD: Tensor, value_RKLD: Tensor, mask_R1CL: Tensor) -> Tensor:
    # heads that share keys stand side by side as further queries, so that nothing is repeated
    R, C, H, D = query_RCHD.shape
    K = key_RKLD.shape[1]
    query = query_RCHD.view(R, C, K, H // K, D).permute(0, 2, 3, 1, 4).reshape(R, K, -1, D)
    mask = mask_R1CL if H == K or C == 1 else mask_R1CL.repeat(1, 1, H // K, 1)
    score = torch.matmul(query * D**-0.5, key_RKLD.transpose(-1, -2)).float().add_(mask)
    seen = torch.matmul(score.softmax(-1).to(query.dtype), value_RKLD)
    return seen.view(R, K, H // K, C, D).permute(0, 3, 1, 2, 4).reshape(R, C, H * D)


def _spots(positions_RC: Tensor, num_kv_heads: int, length: int) -> Tensor:
    # where each new key goes in the cache seen as (rows * K * L, D)
    rows_RCK = torch.arange(positions_RC.shape[0] * num_kv_heads, device=positions_RC.device)
    return (rows_RCK.view(-1, 1, num_kv_heads) * length + positions_RC[..., None]).flatten()


def _mask(positions_RC: Tensor, length: int) -> Tensor:
    later_RCL = torch.arange(length, device=positions_RC.device) > positions_RC[..., None]
    zeros = torch.zeros(later_RCL.shape, device=positions_RC.device)
    return zeros.masked_fill_(later_RCL, float("-inf"))[:, None]


def _norm(x: Tensor, scale: Tensor, eps: float) -> Tensor:
    return F.rms_norm(x, scale.shape, scale, eps)


def _blocks(length: int) -> int:
    return BLOCK * -(-length // BLOCK)
