"""Likelihood of tokens that follow half-imagined ones, each weighed by the losses of what comes after it (IFT)."""

# N tokens that the policy wrote, row by row in order; S rows

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from evolvent.errors import BadInput
from evolvent.training.losses import Reduce, Tokens, Totals, row_mean, sequence_mean

EPS = 1e-8  # nats, so that a row without any loss has equal weights


@dataclass(frozen=True, slots=True)
class Intuitive:
    """sum(reduce * w * credit * l), l_t = -log pi(y_t | e_<t), e = (1 - mixed) E(y) + mixed E(guess).

    w_t = n s_t / sum_j s_j with s_t = sum_{k >= t} gamma^(k-t) l_k over the n tokens of a row. `gamma` 0 means off,
    w = 1, so that `mixed` = `gamma` = 0 is supervised learning; its limit from above would be w_t = n l_t / sum_j l_j.
    The gradient goes through the weights, as in the released code, only where `is_attached`.
    """

    mixed: float = 0.2
    gamma: float = 0.95
    is_attached: bool = False
    reduce: Reduce = sequence_mean
    needs: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for name in ("mixed", "gamma"):
            if not 0 <= getattr(self, name) < 1:
                raise BadInput("not a share", where=f"loss.{name}", got=getattr(self, name), wanted="in [0, 1)")

    def __call__(self, tokens: Tokens, totals: Totals) -> Tensor:
        """The loss as one number."""
        loss_N = -tokens.logprob_N
        weight_N = self.reduce(tokens.row_N, tokens.num_rows, totals) * tokens.credit_N
        if self.gamma:
            seen_N = loss_N if self.is_attached else loss_N.detach()
            weight_N = weight_N * weigh_by_future(seen_N, tokens.row_N, tokens.num_rows, self.gamma)
        return (weight_N * loss_N).sum()


def weigh_by_future(loss_N: Tensor, row_N: Tensor, num_rows: int, gamma: float) -> Tensor:
    """w_t = n s_t / sum_j s_j, s_t = sum_{k >= t} gamma^(k-t) l_k: over a row the weights sum to its n tokens."""
    future_N = sum_future(loss_N, row_N, gamma) + EPS
    return future_N / row_mean(future_N, row_N, num_rows)[row_N]


def sum_future(value_N: Tensor, row_N: Tensor, gamma: float) -> Tensor:
    """sum_{k >= t} gamma^(k-t) v_k within each row, by doubling: after i rounds a sum reaches 2^i tokens ahead."""
    length = int(torch.bincount(row_N).max()) if len(row_N) else 0
    reach = 1
    while reach < length:
        is_same_N = row_N[reach:] == row_N[:-reach]
        ahead_N = torch.where(is_same_N, value_N[reach:], 0.0) * gamma**reach
        value_N = value_N + torch.cat([ahead_N, value_N.new_zeros(reach)])
        reach *= 2
    return value_N
