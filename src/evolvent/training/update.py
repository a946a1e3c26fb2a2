"""One update of one policy: micro-batches forward and backward, the gates on the way, one step of the optimizer."""

# B rows of a micro-batch, T tokens, N tokens that the policy wrote

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evolvent.credit.batch import Batch, Row
from evolvent.credit.packing import pack_by_group, pack_by_length
from evolvent.credit.pairs import pack_whole_groups, pairs_of
from evolvent.models.layout import Layout
from evolvent.training.gates import check_finite, check_gap
from evolvent.training.losses import Loss, Tokens, Totals
from evolvent.training.optim import LiveOptimizer


@dataclass(frozen=True, slots=True)
class Micro:
    """A micro-batch as tensors."""

    layout: Layout
    sampler_N: Tensor
    known_N: Tensor
    credit_N: Tensor
    row_N: Tensor

    @classmethod
    def of(cls, rows: Sequence[Row], policy: Any, device: Any) -> Micro:
        """Lay rows out as the policy reads them, and flatten what belongs to its tokens."""
        longest = max(len(r.tokens) for r in rows)
        token_BT = np.full((len(rows), longest), policy.pad_id, dtype=np.int64)
        mask_BT = np.zeros((len(rows), longest), dtype=bool)
        for i, r in enumerate(rows):
            token_BT[i, : len(r.tokens)] = r.tokens
            mask_BT[i, : len(r.tokens)] = r.mask
        mask_BT[:, 0] = False  # nothing comes before the first token, so nothing predicts it
        sampler = np.concatenate([r.sampler_logprobs[1:][r.mask[1:]] for r in rows])
        known = np.concatenate([r.known[1:][r.mask[1:]] for r in rows])
        credit = np.concatenate([r.credit[1:][r.mask[1:]] for r in rows])
        row = np.concatenate([np.full(r.num_targets, i) for i, r in enumerate(rows)])
        return cls(
            policy.lay_out(token_BT, mask_BT),
            torch.from_numpy(sampler).float().to(device),
            torch.from_numpy(known).to(device),
            torch.from_numpy(credit).to(device),
            torch.from_numpy(row).to(device),
        )


def update(
    policy: Any,
    optimizer: LiveOptimizer,
    batch: Batch,
    loss: Loss,
    *,
    micro_tokens: int,
    max_logprob_gap: float,
    reference: Any = None,
) -> dict[str, float]:
    """Train on a batch; on-policy, the old log-probabilities are the new ones, read from the same forward pass."""
    if not batch.rows:
        return {"num_rows": 0, "num_tokens": 0}
    is_paired = "pair_P2" in getattr(loss, "needs", ())
    pack = pack_whole_groups if is_paired else pack_by_group if policy.shares_starts else pack_by_length
    packs = pack(batch.rows, micro_tokens)
    num_pairs = len(pairs_of(batch.rows)) if is_paired else 0
    totals = Totals(sum(r.num_targets for r in batch.rows), len(batch.rows), num_pairs)
    device = policy.parameters()[0].device
    sums = _Sums()
    optimizer.clear()  # an update that a gate stopped leaves its gradients behind
    for rows in packs:
        micro = Micro.of(rows, policy, device)
        logprob_N, entropy_N = policy.logprobs(micro.layout)
        with torch.no_grad():
            reference_N = reference.logprobs(micro.layout)[0] if reference is not None else None
        old_N = logprob_N.detach()
        tokens = Tokens(
            logprob_N,
            old_N,
            micro.credit_N,
            micro.row_N,
            len(rows),
            reference_N,
            sampler_N=torch.where(micro.known_N, micro.sampler_N, old_N),
            pair_P2=torch.tensor(pairs_of(rows), device=device).view(-1, 2) if is_paired else None,
        )
        value = loss(tokens, totals)
        value.backward()  # type: ignore[no-untyped-call]
        sums.add(micro, logprob_N.detach(), entropy_N, float(value.detach()))
        sums.cut += _num_cut(loss, tokens)
    check_gap(sums.gap, max_logprob_gap, policy)
    check_finite(sums.loss, policy)
    norm = optimizer.clip()
    check_finite(norm, policy)
    rate = optimizer.step()
    policy.updated()
    return {
        "loss": sums.loss,
        "grad_norm": norm,
        "lr": rate,
        "num_rows": len(batch.rows),
        "num_tokens": totals.num_tokens,
        "entropy": sums.entropy / totals.num_tokens,
        "kl_sampler_trainer": sums.kl / max(sums.num_known, 1),
        "max_logprob_gap": sums.gap,
        "clip_share": sums.cut / totals.num_tokens,
        "padding_share": 1 - sums.num_computed / max(sums.num_positions, 1),
        "shared_share": 1 - sums.num_computed / max(sums.num_read, 1),
    }


def _num_cut(loss: Loss, tokens: Tokens) -> float:
    """How many tokens the clip cut off; 0 as long as no update lies between sampling and this one."""
    num_cut = getattr(loss, "num_cut", None)
    return float(num_cut(tokens)) if num_cut is not None else 0.0


class _Sums:
    """What is added up over micro-batches."""

    def __init__(self) -> None:
        self.loss = self.entropy = self.kl = self.gap = self.cut = 0.0
        self.num_known = self.num_positions = self.num_computed = self.num_read = 0

    def add(self, micro: Micro, logprob_N: Tensor, entropy_N: Tensor, loss: float) -> None:
        self.loss += loss
        self.num_positions += micro.layout.num_positions
        self.num_computed += micro.layout.num_computed
        self.num_read += micro.layout.num_tokens
        self.entropy += float(entropy_N.sum())
        gap_N = (micro.sampler_N - logprob_N)[micro.known_N]
        if len(gap_N):
            self.num_known += len(gap_N)
            self.kl += float(gap_N.sum())
            self.gap = float(np.maximum(self.gap, float(gap_N.abs().max())))  # unlike max(), it keeps a NaN
