"""What may be added to a policy loss, with a coefficient: divergence, entropy, likelihood, value, preference."""

# N tokens that the policy wrote, S rows (sequences), P pairs of rows

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from evolvent.errors import BadInput
from evolvent.training.losses import Reduce, Term, Tokens, Totals, divergence, row_mean, row_sum

Estimator = Callable[[Tokens], Tensor]


def k1(tokens: Tokens) -> Tensor:
    """log pi - log ref: unbiased as a number, useless as a loss - its gradient is 0 in expectation, only noise."""
    return tokens.logprob_N - _reference(tokens)


def k2(tokens: Tokens) -> Tensor:
    """(log pi - log ref)^2 / 2: biased as a number, and the one whose gradient is that of KL(pi, ref), on-policy.

    Its gradient is (log pi - log ref) * grad log pi, whose mean over pi is the gradient of KL(pi, ref).
    """
    return (tokens.logprob_N - _reference(tokens)).square() / 2


def k3(tokens: Tokens) -> Tensor:
    """exp(d) - d - 1, d = log ref - log pi: unbiased and never negative as a number (Schulman, kl-approx, 2020).

    As a loss its gradient is (1 - ref / pi) * grad log pi, whose mean over pi is the gradient of KL(ref, pi): the other
    direction. Both agree to first order near the reference; far from it, this one grows without bound.
    """
    return divergence(tokens)


def k3_weighted(tokens: Tokens) -> Tensor:
    """pi / pi_old * k3: the gradient of KL(pi, ref), unbiased off-policy too (DeepSeek-V3.2, arXiv:2512.02556)."""
    return (tokens.logprob_N - tokens.old_N).exp() * divergence(tokens)


def _reference(tokens: Tokens) -> Tensor:
    return tokens.need("reference_N", "a KL term", "give update() a frozen copy of the policy as reference")


@dataclass(frozen=True, slots=True)
class KL:
    """Divergence from the reference policy, token by token; `k2` is the default since its gradient is the right one.

    Values by Schulman's note (joschu.net/blog/kl-approx.html), gradients by arXiv:2506.09477. Token by token, what a
    token does to the divergence of those behind it is left out, as in GRPO.
    """

    coefficient: float
    estimator: Estimator = k2
    needs: ClassVar[tuple[str, ...]] = ("reference_N",)

    def __call__(self, tokens: Tokens, weight_N: Tensor, totals: Totals) -> Tensor:
        """The weighted divergence."""
        return (weight_N * self.estimator(tokens)).sum()


@dataclass(frozen=True, slots=True)
class Entropy:
    """-entropy: a bonus for not having decided yet, in nats a token."""

    coefficient: float
    needs: ClassVar[tuple[str, ...]] = ("entropy_N",)

    def __call__(self, tokens: Tokens, weight_N: Tensor, totals: Totals) -> Tensor:
        """The weighted entropy, negative."""
        entropy_N = tokens.need("entropy_N", "an entropy bonus", "let the policy return its entropy with a gradient")
        if tokens.logprob_N.requires_grad and not entropy_N.requires_grad:
            raise BadInput(
                "an entropy without a gradient is no bonus",
                where="loss.terms",
                got="entropy_N detached",
                wanted="entropy_N of the same forward pass as logprob_N",
            )
        return -(weight_N * entropy_N).sum()


@dataclass(frozen=True, slots=True)
class Imitation:
    """-log pi on good tokens: supervised learning mixed in (VAPO, arXiv:2504.05118, coefficient 0.1).

    Good is what `good_N` says, and without it every token with positive credit, which for a group's own baseline are
    the traces above the mean. Good tokens weigh what all tokens do under `reduce`: for the paper's mean over good
    tokens only, `good_N` is number of tokens / number of good tokens in place of 1.
    """

    coefficient: float
    needs: ClassVar[tuple[str, ...]] = ()

    def __call__(self, tokens: Tokens, weight_N: Tensor, totals: Totals) -> Tensor:
        """The weighted negative log-likelihood."""
        good_N = tokens.good_N if tokens.good_N is not None else (tokens.credit_N > 0).float()
        return -(weight_N * good_N * tokens.logprob_N).sum()


@dataclass(frozen=True, slots=True)
class Value:
    """max((v - R)^2, (v_old + clip(v - v_old, -c, c) - R)^2) / 2: a critic's squared error, clipped as in PPO2's code.

    `clip` None is the squared error alone.
    """

    coefficient: float
    clip: float | None = None
    needs: ClassVar[tuple[str, ...]] = ("value_N", "target_N")

    def __call__(self, tokens: Tokens, weight_N: Tensor, totals: Totals) -> Tensor:
        """The weighted error."""
        value_N = tokens.need("value_N", "a value term", "give a critic's predictions")
        target_N = tokens.need("target_N", "a value term", "give returns: credit/gae.py makes them")
        error_N = (value_N - target_N).square()
        if self.clip is not None:
            old_N = tokens.need("old_value_N", "a clipped value term", "give the predictions at sampling, or clip=None")
            near_N = old_N + (value_N - old_N).clamp(-self.clip, self.clip)
            error_N = torch.maximum(error_N, (near_N - target_N).square())
        return (weight_N * error_N).sum() / 2


@dataclass(frozen=True, slots=True)
class Preference:
    """-log sigmoid(beta (l_better - l_worse)), l = sum of log pi - log ref over a row: DPO, arXiv:2305.18290, eq. 7.

    A mean over the pairs of the batch; the better row is the one with more credit, and a tie is no preference.
    """

    coefficient: float
    beta: float = 0.1  # DPO, appendix B
    needs: ClassVar[tuple[str, ...]] = ("pair_P2", "reference_N")

    def __call__(self, tokens: Tokens, weight_N: Tensor, totals: Totals) -> Tensor:
        """The mean over pairs."""
        pair_P2 = tokens.need("pair_P2", "a preference", "keep both traces of a pair in one micro-batch")
        credit_S = row_mean(tokens.credit_N, tokens.row_N, tokens.num_rows)
        gap_S = row_sum(k1(tokens), tokens.row_N, tokens.num_rows)
        order_P = torch.sign(credit_S[pair_P2[:, 0]] - credit_S[pair_P2[:, 1]])
        margin_P = self.beta * order_P * (gap_S[pair_P2[:, 0]] - gap_S[pair_P2[:, 1]])
        return -(order_P.abs() * logsigmoid(margin_P)).sum() / max(totals.num_pairs, 1)


@dataclass(frozen=True, slots=True)
class Terms:
    """A loss made of terms alone: a critic (`Value`), preferences (`Preference`), distillation (`KL`)."""

    reduce: Reduce
    terms: tuple[Term, ...]

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields of Tokens that must be given, beside those that always are."""
        return tuple(sorted({field for term in self.terms for field in term.needs}))

    def __call__(self, tokens: Tokens, totals: Totals) -> Tensor:
        """The loss as one number."""
        weight_N = self.reduce(tokens.row_N, tokens.num_rows, totals)
        value = tokens.logprob_N.new_zeros(())
        for term in self.terms:
            value = value + term.coefficient * term(tokens, weight_N, totals)
        return value
