"""One batch into one policy: micro-batches forward and backward, the gates on the way, steps of the optimizer."""

# B rows of a micro-batch, T tokens, N tokens that the policy wrote

from __future__ import annotations

import math
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
from evolvent.policies.elsewhere import bounds_of
from evolvent.training.gates import check_finite, check_gap
from evolvent.training.losses import Loss, Tokens, Totals
from evolvent.training.mismatch import Mismatch, corrected
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
    num_parts: int = 1,
) -> dict[str, float]:
    """Train on a batch, one step of the optimizer for each of `num_parts` parts.

    Where an engine elsewhere sampled, its distance is bounded by its own bounds and corrected for once. With one part
    the old log-probabilities are the new ones, read from the same forward pass; with several they are
    those of before the first step, so that only there the ratio leaves 1 and a clip has something to do.
    """
    if not batch.rows:
        return {"num_rows": 0, "num_tokens": 0}
    bounds = bounds_of(policy)
    reader = _Reader(policy, corrected(loss, bounds), reference)
    parts = [reader.pack(rows, micro_tokens) for rows in split_groups(batch.rows, num_parts)]
    sums = _Sums(Mismatch(bounds) if bounds else None)
    olds = [[reader.read_old(rows, sums) for rows in packs] for packs in parts] if len(parts) > 1 else None
    if olds:
        sums.check(max_logprob_gap, policy)
    for i, packs in enumerate(parts):
        optimizer.clear()  # an update that a gate stopped leaves its gradients behind
        value = reader.backward(packs, olds[i] if olds else None, sums)
        sums.check(max_logprob_gap, policy)
        check_finite(value, policy)
        norm = optimizer.clip()
        check_finite(norm, policy)
        sums.loss += value / len(parts)
        sums.norm += norm / len(parts)
        rate = optimizer.step()
        policy.updated()
    return {"loss": sums.loss, "grad_norm": sums.norm, "lr": rate, "num_rows": len(batch.rows), **sums.told()}


def reaches_all_rows(loss: Loss) -> bool:
    """Whether a loss tells something to rows without credit: a divergence, an entropy or a value is theirs too."""
    return bool({"reference_N", "entropy_N", "value_N"} & set(getattr(loss, "needs", ())))


def split_groups(rows: Sequence[Row], num_parts: int) -> list[list[Row]]:
    """Rows in at most `num_parts` parts that hold groups whole and are about equally large.

    Groups are dealt in order of their keys, each to the part with the fewest rows, so that every part sees all levels.
    """
    found: dict[tuple[str | int, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(row.group, []).append(row)
    if num_parts == 1:
        return [list(rows)]
    parts: list[list[Row]] = [[] for _ in range(min(num_parts, len(found)))]
    for _, group in sorted(found.items(), key=lambda item: [str(part) for part in item[0]]):
        min(parts, key=len).extend(group)
    return parts


class _Reader:
    """What a policy and its reference say of micro-batches, in the form that a loss reads."""

    def __init__(self, policy: Any, loss: Loss, reference: Any) -> None:
        self.policy, self.loss, self.reference = policy, loss, reference
        needs = getattr(loss, "needs", ())
        self.is_paired, self.tells_good = "pair_P2" in needs, "good_N" in needs
        self.mixed = float(getattr(loss, "mixed", 0.0))
        self.how: dict[str, Any] = {"entropy_grad": True} if "entropy_N" in needs else {}
        self.how |= {"mixed": self.mixed} if self.mixed else {}
        self.device = policy.parameters()[0].device

    def pack(self, rows: Sequence[Row], micro_tokens: int) -> list[tuple[Row, ...]]:
        """Rows into micro-batches, as the loss and the policy like them."""
        by_size = pack_by_group if self.policy.shares_starts else pack_by_length
        return (pack_whole_groups if self.is_paired else by_size)(rows, micro_tokens)

    def read_old(self, rows: Sequence[Row], sums: _Sums) -> Tensor:
        """Log-probabilities of a micro-batch before the first step, compared with what the sampler recorded."""
        micro = Micro.of(rows, self.policy, self.device)
        with torch.no_grad():
            old_N: Tensor = self.policy.logprobs(micro.layout)[0]
        sums.compare(micro, old_N)
        return old_N

    def backward(self, packs: Sequence[tuple[Row, ...]], olds: Sequence[Tensor] | None, sums: _Sums) -> float:
        """Add up the gradient of one part; returns its loss."""
        rows = [row for pack in packs for row in pack]
        num_pairs = len(pairs_of(rows)) if self.is_paired else 0
        totals = Totals(sum(r.num_targets for r in rows), len(rows), num_pairs)
        num_good = sum(r.num_targets for r in rows if r.is_good)
        good = totals.num_tokens / num_good if num_good else 0.0
        whole = 0.0
        for i, pack in enumerate(packs):
            micro = Micro.of(pack, self.policy, self.device)
            tokens, entropy_N = self.read(micro, pack, olds[i] if olds else None, good)
            value = self.loss(tokens, totals)
            value.backward()  # type: ignore[no-untyped-call]
            if not olds and not self.mixed:  # a sampler never read mixtures
                sums.compare(micro, tokens.old_N)
            sums.add(micro, entropy_N, _sum_told(self.loss, "num_cut", tokens), _sum_told(self.loss, "drift", tokens))
            whole += float(value.detach())
        return whole

    def read(self, micro: Micro, rows: Sequence[Row], old_N: Tensor | None, good: float) -> tuple[Tokens, Tensor]:
        """A micro-batch as a loss sees it, and the entropy of each prediction without its gradient.

        Tokens of good rows weigh `good`, so that a mean over all tokens is one over good tokens.
        """
        logprob_N, entropy_N = self.policy.logprobs(micro.layout, **self.how)
        with torch.no_grad():
            reference_N = self.reference.logprobs(micro.layout)[0] if self.reference is not None else None
        old_N = logprob_N.detach() if old_N is None else old_N
        tokens = Tokens(
            logprob_N,
            old_N,
            micro.credit_N,
            micro.row_N,
            len(rows),
            reference_N,
            sampler_N=torch.where(micro.known_N, micro.sampler_N, old_N),
            entropy_N=entropy_N if "entropy_grad" in self.how else None,
            good_N=self._good(micro, rows, good),
            pair_P2=torch.tensor(pairs_of(rows), device=self.device).view(-1, 2) if self.is_paired else None,
        )
        return tokens, entropy_N.detach()

    def _good(self, micro: Micro, rows: Sequence[Row], good: float) -> Tensor | None:
        good_S = torch.tensor([good * r.is_good for r in rows], device=self.device)
        return good_S[micro.row_N] if self.tells_good else None


def _sum_told(loss: Loss, name: str, tokens: Tokens) -> float:
    """What a loss says of its ratios, summed over tokens; 0 as long as no update lies between sampling and this one."""
    tell = getattr(loss, name, None)
    return float(tell(tokens)) if tell is not None else 0.0


class _Sums:
    """What is added up over micro-batches."""

    def __init__(self, mismatch: Mismatch | None = None) -> None:
        self.mismatch = mismatch
        self.loss = self.norm = self.entropy = self.kl = self.gap = self.cut = self.drift = 0.0
        self.num_tokens = self.num_known = self.num_positions = self.num_computed = self.num_read = 0

    def add(self, micro: Micro, entropy_N: Tensor, num_cut: float, drift: float) -> None:
        """What an update read, once for each of its micro-batches."""
        self.num_positions += micro.layout.num_positions
        self.num_computed += micro.layout.num_computed
        self.num_read += micro.layout.num_tokens
        self.num_tokens += len(entropy_N)
        self.entropy += float(entropy_N.sum())
        self.cut += num_cut
        self.drift += drift

    def compare(self, micro: Micro, old_N: Tensor) -> None:
        """How far the trainer is from the sampler on the weights that both had."""
        gap_N = (micro.sampler_N - old_N)[micro.known_N]
        if len(gap_N):
            self.num_known += len(gap_N)
            self.kl += float(gap_N.sum())
            self.gap = float(np.maximum(self.gap, float(gap_N.abs().max())))  # unlike max(), it keeps a NaN
        if self.mismatch is not None:
            self.mismatch.add(micro.sampler_N[micro.known_N], old_N[micro.known_N])

    def check(self, max_logprob_gap: float, policy: Any) -> None:
        """Stop where sampler and trainer are too far apart: in any token for one program, in the mean for two."""
        if self.mismatch is not None:
            self.mismatch.check(policy)
        else:
            check_gap(self.gap, max_logprob_gap, policy)

    def told(self) -> dict[str, float]:
        """The sums as means over tokens and shares."""
        return {
            "num_tokens": self.num_tokens,
            "entropy": self.entropy / self.num_tokens,
            "kl_sampler_trainer": self.kl / max(self.num_known, 1),
            "max_logprob_gap": self.gap,
            "clip_share": self.cut / self.num_tokens,
            "ratio_spread": math.sqrt(self.drift / self.num_tokens),  # about 1, over tokens
            "padding_share": 1 - self.num_computed / max(self.num_positions, 1),
            "shared_share": 1 - self.num_computed / max(self.num_read, 1),
            **(self.mismatch.told() if self.mismatch is not None and self.mismatch.num else {}),
        }
