"""The pairwise policy loss: two attempts at one task against each other, only the difference of their scores counts."""

# N tokens that the policy wrote, S rows (sequences), P pairs of rows

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from evolvent.training.losses import Tokens, Totals, row_mean, row_sum
from evolvent.training.terms import k1


@dataclass(frozen=True, slots=True)
class Pairwise:
    """P3O with separate clipping, arXiv:2310.00212; a mean over the pairs of the batch.

    With credits A of a group's own baseline (so that A_1 - A_2 = r_1 - r_2), l = sum of log pi - log ref over a row,
    rho = pi / pi_old of a row as one action, c(rho) = sg(clip(rho, least, most)) and clip to 1 -+ low, high:

        q = sg((A_1 - A_2) - beta (l_1 - l_2))
        L = (max(-q c(rho_2) rho_1, -q c(rho_2) clip(rho_1)) + max(q c(rho_1) rho_2, q c(rho_1) clip(rho_2))) / 2
    """

    beta: float = 0.05  # released code
    low: float = 0.2
    high: float = 0.2
    least: float = 0.1
    most: float = 10.0
    is_importance_weighted: ClassVar[bool] = True  # by products over rows, which have no place for a correction

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields of Tokens that must be given, beside those that always are."""
        return ("pair_P2", "reference_N") if self.beta else ("pair_P2",)

    def __call__(self, tokens: Tokens, totals: Totals) -> Tensor:
        """The loss as one number."""
        pair_P2 = tokens.need("pair_P2", "a pairwise loss", "keep both traces of a pair in one micro-batch")
        ratio_S = row_sum(tokens.logprob_N - tokens.old_N, tokens.row_N, tokens.num_rows).exp()
        ratio_P2 = ratio_S[pair_P2]
        crossed_P2 = ratio_P2.detach().clamp(self.least, self.most).flip(-1)
        pull_P2 = self.pull(tokens)[:, None] * crossed_P2 * torch.tensor([1.0, -1.0], device=ratio_P2.device)
        gain_P2 = torch.minimum(pull_P2 * ratio_P2, pull_P2 * ratio_P2.clamp(1 - self.low, 1 + self.high))
        return -gain_P2.sum() / (2 * max(totals.num_pairs, 1))

    def pull(self, tokens: Tokens) -> Tensor:
        """q of each pair: how much more the first deserves than the second, its drift from the reference deducted."""
        pair_P2 = tokens.need("pair_P2", "a pairwise loss", "keep both traces of a pair in one micro-batch")
        worth_S = row_mean(tokens.credit_N, tokens.row_N, tokens.num_rows)
        if self.beta:
            worth_S = worth_S - self.beta * row_sum(k1(tokens), tokens.row_N, tokens.num_rows)
        return (worth_S[pair_P2[:, 0]] - worth_S[pair_P2[:, 1]]).detach()

    def clip_share(self, ratio_N: Tensor, credit_N: Tensor) -> float:
        """Pairs are clipped, not tokens."""
        return 0.0
