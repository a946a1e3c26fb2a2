"""Policy losses from small pure parts, so that the equation of a method can be read off its composition."""

# N tokens that the policy wrote, S rows (sequences)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from evolvent.errors import BadInput

Ratio = Callable[[Tensor, Tensor, Tensor, int], Tensor]
Gain = Callable[[Tensor, Tensor], Tensor]
Reduce = Callable[[Tensor, int, "Totals"], Tensor]


@dataclass(frozen=True, slots=True)
class Totals:
    """Sizes of the whole batch, so that micro-batches add up to the same loss as one large one."""

    num_tokens: int
    num_rows: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a loss sees of the policy's tokens, flat: new, old and reference log-probabilities, credit, row."""

    logprob_N: Tensor
    old_N: Tensor
    credit_N: Tensor
    row_N: Tensor
    num_rows: int
    reference_N: Tensor | None = None


def per_token(logprob_N: Tensor, old_N: Tensor, row_N: Tensor, num_rows: int) -> Tensor:
    """pi / pi_old of each token (PPO, arXiv:1707.06347)."""
    return (logprob_N - old_N).exp()


@dataclass(frozen=True, slots=True)
class Clip:
    """min(r A, clip(r, 1 - low, 1 + high) A): PPO's pessimistic bound, `high` apart from `low` as in DAPO."""

    low: float
    high: float

    def __call__(self, ratio_N: Tensor, credit_N: Tensor) -> Tensor:
        """What is gained by each token."""
        return torch.minimum(ratio_N * credit_N, ratio_N.clamp(1 - self.low, 1 + self.high) * credit_N)


def token_mean(row_N: Tensor, num_rows: int, totals: Totals) -> Tensor:
    """Every token of the batch weighs the same (DAPO, arXiv:2503.14476, equation 12)."""
    return torch.full(row_N.shape, 1 / max(totals.num_tokens, 1), dtype=torch.float32, device=row_N.device)


def sequence_mean(row_N: Tensor, num_rows: int, totals: Totals) -> Tensor:
    """Every row (one context of a trace) weighs the same, its tokens share that (GRPO, arXiv:2402.03300, eq. 3)."""
    length_S = torch.bincount(row_N, minlength=num_rows).clamp(min=1)
    return 1 / (length_S[row_N].float() * max(totals.num_rows, 1))


def divergence(tokens: Tokens) -> Tensor:
    """KL(policy, reference) of each token by Schulman's k3 estimator, exp(d) - d - 1 with d = log ref - log pi."""
    if tokens.reference_N is None:
        raise BadInput(
            "a KL term needs a reference policy",
            where="loss.kl",
            got="no reference log-probabilities",
            wanted="a frozen copy of the policy, given to update(reference=...)",
            cure="loss.kl=0, or give the reference",
        )
    gap_N = tokens.reference_N - tokens.logprob_N
    return torch.expm1(gap_N) - gap_N


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """-sum(weight * gain(ratio, credit)) + kl * KL(policy, reference), the KL by Schulman's k3 estimator."""

    ratio: Ratio
    gain: Gain
    reduce: Reduce
    kl: float = 0.0

    def __call__(self, tokens: Tokens, totals: Totals) -> Tensor:
        """The loss as one number."""
        weight_N = self.reduce(tokens.row_N, tokens.num_rows, totals)
        ratio_N = self.ratio(tokens.logprob_N, tokens.old_N, tokens.row_N, tokens.num_rows)
        loss_N = -self.gain(ratio_N, tokens.credit_N)
        if self.kl:
            loss_N = loss_N + self.kl * divergence(tokens)
        return (weight_N * loss_N).sum()

    def clip_share(self, ratio_N: Tensor, credit_N: Tensor) -> float:
        """The share of tokens whose gain the clip cut off."""
        if not isinstance(self.gain, Clip) or not len(ratio_N):
            return 0.0
        cut_N = (ratio_N * credit_N) > self.gain(ratio_N, credit_N)
        return float(cut_N.float().mean())


@dataclass(frozen=True, slots=True)
class Likelihood:
    """-sum(weight * credit * log pi) + kl * KL(policy, reference): supervised learning, traces weighted by credit."""

    reduce: Reduce
    kl: float = 0.0

    def __call__(self, tokens: Tokens, totals: Totals) -> Tensor:
        """The loss as one number."""
        weight_N = self.reduce(tokens.row_N, tokens.num_rows, totals)
        loss_N = -tokens.credit_N * tokens.logprob_N
        if self.kl:
            loss_N = loss_N + self.kl * divergence(tokens)
        return (weight_N * loss_N).sum()

    def clip_share(self, ratio_N: Tensor, credit_N: Tensor) -> float:
        """Nothing is clipped."""
        return 0.0


Loss = PolicyLoss | Likelihood
