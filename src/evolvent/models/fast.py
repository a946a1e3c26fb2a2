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
from evolvent.models.kernels import gated, norm, turned
from evolvent.models.layout import Block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = [
    "FastWeights",
    "attend_causal",
    "embed",
    "flat_hidden",
    "flat_hidden_of",
    "hidden",
    "likeliest",
    "logits",
    "score",
    "score_logits",
    "supports",
    "why_not",
]

MAX_SCORES = 1 << 26  # scores of the vocabulary that stand in memory at once, 256 MiB of float32


def hidden(weights: FastWeights, tokens_BT: Tensor) -> Tensor:
    """Last hidden states (B, T, W) with gradient; rows are padded on the right, so causal order is mask enough."""
    num_rows, length = tokens_BT.shape
    position_N = torch.arange(length, device=tokens_BT.device).repeat(num_rows)
    blocks = (Block(0, num_rows, length),)
    return flat_hidden(weights, tokens_BT.flatten(), position_N, blocks).view(num_rows, length, -1)


def flat_hidden(weights: FastWeights, token_N: Tensor, position_N: Tensor, blocks: Sequence[Block]) -> Tensor:
    """Last hidden states (N, W) with gradient, of flat tokens that attend within their blocks (see `layout`)."""
    return flat_hidden_of(weights, embed(weights, token_N), position_N, blocks)


def embed(weights: FastWeights, token_N: Tensor) -> Tensor:
    """The vectors (N, W) that tokens are read as."""
    # the padding token's vector learns nothing from being read, as in torch.nn.Embedding
    return F.embedding(token_N, weights.embedding, weights.model.model.embed_tokens.padding_idx)


def flat_hidden_of(weights: FastWeights, x_NW: Tensor, position_N: Tensor, blocks: Sequence[Block]) -> Tensor:
    """The same of vectors that stand in the place of tokens."""
    rotation = weights.rotation(position_N)
    saves_memory = weights.model.model.gradient_checkpointing and torch.is_grad_enabled()
    for layer in weights.layers():
        if saves_memory:
            from torch.utils.checkpoint import checkpoint

            x_NW = checkpoint(_layer, weights, layer, x_NW, rotation, blocks, use_reentrant=False)
        else:
            x_NW = _layer(weights, layer, x_NW, rotation, blocks)
    return norm(x_NW, weights.final_norm, weights.eps)


def logits(weights: FastWeights, hidden: Tensor) -> Tensor:
    """Scores of the next token (..., V) from last hidden states (..., W)."""
    return F.linear(hidden, weights.model.lm_head.weight)


def score(
    weights: FastWeights, hidden_MW: Tensor, target_M: Tensor, entropy_grad: bool = False
) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and entropy of each prediction; where the vocabulary is large, a part at a time.

    Parts are computed again in the backward pass, so that no more than `MAX_SCORES` numbers stand in memory.
    """
    at_once = max(1, MAX_SCORES // weights.model.lm_head.weight.shape[0])
    if hidden_MW.shape[0] <= at_once:
        return score_logits(logits(weights, hidden_MW), target_M, entropy_grad)
    from torch.utils.checkpoint import checkpoint

    def part(hidden: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return score_logits(logits(weights, hidden), target, entropy_grad)

    pieces = zip(torch.split(hidden_MW, at_once), torch.split(target_M, at_once), strict=True)
    made = [checkpoint(part, hidden, target, use_reentrant=False) for hidden, target in pieces]
    return torch.cat([m[0] for m in made]), torch.cat([m[1] for m in made])


def likeliest(weights: FastWeights, hidden_MW: Tensor) -> Tensor:
    """The token with the highest score at each of M hidden states; where the vocabulary is large, a part at a time."""
    at_once = max(1, MAX_SCORES // weights.model.lm_head.weight.shape[0])
    return torch.cat([logits(weights, hidden).argmax(-1) for hidden in torch.split(hidden_MW, at_once)])


def score_logits(logits_MV: Tensor, target_M: Tensor, entropy_grad: bool = False) -> tuple[Tensor, Tensor]:
    """Log-probability of each target with gradient, and entropy of each prediction, with one where it is asked for."""
    logprob_MV = logits_MV.float().log_softmax(-1)
    with torch.set_grad_enabled(entropy_grad and torch.is_grad_enabled()):
        entropy_M = -(logprob_MV.exp() * logprob_MV).sum(-1)
    return logprob_MV.gather(-1, target_M[:, None])[:, 0], entropy_M


def _layer(weights: FastWeights, layer: Layer, x_NW: Tensor, rotation: Tensor, blocks: Sequence[Block]) -> Tensor:
    query, key, value = project(weights, layer, x_NW, rotation)
    return mix(weights, layer, x_NW, _attend_blocks(query, key, value, blocks))


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
            seen.append(attend_causal(query.view(shape), *(x.view(block.rows, -1, *x.shape[1:]) for x in (key, value))))
        else:
            past = (x.index_select(0, block.keys.flatten()) for x in (key_NKD, value_NKD))
            read = (x.view(*block.keys.shape, *x.shape[1:]) for x in past)
            seen.append(_attend(query.view(shape), *read, attn_mask=block.mask.to(query.dtype)))
    return torch.cat([s.flatten(0, 1) for s in seen]).to(own_type)


def project(weights: FastWeights, layer: Layer, x: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (..., heads, D) of one product; queries and keys are normed and rotated together."""
    num_q, num_k = weights.num_heads, weights.num_kv_heads
    qkv = F.linear(norm(x, layer.attention_norm, weights.eps), layer.qkv, layer.qkv_bias)
    qkv = qkv.view(*x.shape[:-1], num_q + 2 * num_k, weights.head_dim)
    qk, value = turned(qkv, layer.qk_scale, rotation, weights.eps)
    query, key = torch.split(qk, [num_q, num_k], -2)
    return query, key, value


def mix(weights: FastWeights, layer: Layer, x: Tensor, seen: Tensor) -> Tensor:
    """What a layer makes of its input and of what its heads have read."""
    x = x + F.linear(seen, layer.out, layer.out_bias)
    gate_up = F.linear(norm(x, layer.feedforward_norm, weights.eps), layer.gate_up, layer.gate_up_bias)
    return x + F.linear(gated(gate_up), layer.down, layer.down_bias)


def attend_causal(query_BTHD: Tensor, key_BTKD: Tensor, value_BTKD: Tensor) -> Tensor:
    """What each token (B, T, H * D) reads of its row up to itself."""
    return _attend(query_BTHD, key_BTKD, value_BTKD, is_causal=True)


def _attend(query_BSHD: Tensor, key_BTKD: Tensor, value_BTKD: Tensor, **how: Any) -> Tensor:
    grouped = query_BSHD.shape[2] != key_BTKD.shape[2]
    query, key, value = (x.transpose(1, 2) for x in (query_BSHD, key_BTKD, value_BTKD))
    seen_BHSD = F.scaled_dot_product_attention(query, key, value, enable_gqa=grouped, **how)
    return seen_BHSD.transpose(1, 2).flatten(-2)
