"""Policy losses from small pure parts, so that the equation of a method can be read off its composition."""

# N tokens that the policy wrote, S rows (sequences), P pairs of rows

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from evolvent.errors import BadInput

Ratio = Callable[[Tensor, Tensor, Tensor, int], Tensor]
Gain = Callable[[Tensor, Tensor, Tensor], Tensor]
Reduce = Callable[[Tensor, int, "Totals"], Tensor]


@dataclass(frozen=True, slots=True)
class Totals:
    """Sizes of the whole batch, so that micro-batches add up to the same loss as one large one."""

    num_tokens: int
    num_rows: int
    num_pairs: int = 0


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a loss sees of the policy's tokens, flat: new, old and reference log-probabilities, credit, row.

    What only some losses need is None where nobody gave it: `sampler_N` log-probabilities when sampled (equal to
    `old_N` where none was recorded), `entropy_N` of the new distribution with its gradient, `good_N` 1 on tokens to
    imitate, `pair_P2` row numbers of the two traces of each pair, `value_N` a critic's predictions with their gradient,
    `old_value_N` those at sampling, `target_N` what they should be.
    """

    logprob_N: Tensor
    old_N: Tensor
    credit_N: Tensor
    row_N: Tensor
    num_rows: int
    reference_N: Tensor | None = None
    sampler_N: Tensor | None = None
    entropy_N: Tensor | None = None
    good_N: Tensor | None = None
    pair_P2: Tensor | None = None
    value_N: Tensor | None = None
    old_value_N: Tensor | None = None
    target_N: Tensor | None = None

    def need(self, field: str, who: str, cure: str) -> Tensor:
        """A field that must be there, or BadInput that says who needs it."""
        found: Tensor | None = getattr(self, field)
        if found is None:
            raise BadInput(f"{who} needs {field}", where="loss", got=f"{field}=None", wanted="a tensor", cure=cure)
        return found


class Loss(Protocol):
    """What an update makes small.

    It may also say `num_cut(tokens)`, how many tokens one of its bounds held, `drift(tokens)`, the sum of their
    (ratio - 1)^2, and `mixed`, the share of the policy's own guess in what it reads (see `LocalPolicy.logprobs`).
    """

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields of Tokens that must be given, beside those that always are."""

    def __call__(self, tokens: Tokens, totals: Totals) -> Tensor:
        """The loss as one number; over micro-batches it adds up to that of the batch."""


class Term(Protocol):
    """Something added to a loss with a coefficient, as one number under the loss's own weights."""

    @property
    def coefficient(self) -> float:
        """How much of it is added."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields of Tokens that must be given."""

    def __call__(self, tokens: Tokens, weight_N: Tensor, totals: Totals) -> Tensor:
        """What is added, before the coefficient."""


class Correction(Protocol):
    """A weight for the gain of each token, without a gradient of its own."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields of Tokens that must be given."""

    def __call__(self, tokens: Tokens) -> Tensor:
        """The weight of each token."""


# ---------------------------------------------------------------- ratio: how far the policy has moved


def per_token(logprob_N: Tensor, old_N: Tensor, row_N: Tensor, num_rows: int) -> Tensor:
    """pi / pi_old of each token (PPO, arXiv:1707.06347)."""
    return (logprob_N - old_N).exp()


def per_sequence(logprob_N: Tensor, old_N: Tensor, row_N: Tensor, num_rows: int) -> Tensor:
    """The geometric mean of a row's token ratios, at each of its tokens (GSPO, arXiv:2507.18071)."""
    return row_mean(logprob_N - old_N, row_N, num_rows)[row_N].exp()


def per_sequence_token(logprob_N: Tensor, old_N: Tensor, row_N: Tensor, num_rows: int) -> Tensor:
    """GSPO's ratio in value, with the gradient of each token's own log-probability (GSPO-token).

    With one credit for a whole row its gradient is that of `per_sequence`; it is for credits that differ by token.
    """
    ratio_N = per_sequence(logprob_N, old_N, row_N, num_rows).detach()
    return ratio_N * (logprob_N - logprob_N.detach()).exp()


def whole_sequence(logprob_N: Tensor, old_N: Tensor, row_N: Tensor, num_rows: int) -> Tensor:
    """The product of a row's token ratios, at each of its tokens: pi / pi_old of the row as one action (RLOO)."""
    return row_sum(logprob_N - old_N, row_N, num_rows)[row_N].exp()


def row_sum(value_N: Tensor, row_N: Tensor, num_rows: int) -> Tensor:
    """The sum over each row, (S,)."""
    return value_N.new_zeros(num_rows).index_add(0, row_N, value_N)


def row_mean(value_N: Tensor, row_N: Tensor, num_rows: int) -> Tensor:
    """The mean over each row, (S,); 0 for a row without tokens."""
    return row_sum(value_N, row_N, num_rows) / torch.bincount(row_N, minlength=num_rows).clamp(min=1)


# ---------------------------------------------------------------- gain: what a ratio is worth


@dataclass(frozen=True, slots=True)
class Clip:
    """min(r A, clip(r, 1 - low, 1 + high) A): PPO's pessimistic bound, `high` apart from `low` as in DAPO."""

    low: float
    high: float

    def __call__(self, ratio_N: Tensor, credit_N: Tensor, logprob_N: Tensor | None = None) -> Tensor:
        """What is gained by each token."""
        return torch.minimum(ratio_N * credit_N, ratio_N.clamp(1 - self.low, 1 + self.high) * credit_N)

    def cut(self, ratio_N: Tensor, credit_N: Tensor) -> Tensor:
        """Where the clip holds, and the gradient is zero."""
        return ratio_N * credit_N > self(ratio_N, credit_N)


# ---------------------------------------------------------------- reduce: what each token weighs


def token_mean(row_N: Tensor, num_rows: int, totals: Totals) -> Tensor:
    """Every token of the batch weighs the same (DAPO, arXiv:2503.14476, equation 12)."""
    return torch.full(row_N.shape, 1 / max(totals.num_tokens, 1), dtype=torch.float32, device=row_N.device)


def sequence_mean(row_N: Tensor, num_rows: int, totals: Totals) -> Tensor:
    """Every row (one context of a trace) weighs the same, its tokens share that (GRPO, arXiv:2402.03300, eq. 3)."""
    length_S = torch.bincount(row_N, minlength=num_rows).clamp(min=1)
    return 1 / (length_S[row_N].float() * max(totals.num_rows, 1))


def sequence_sum(row_N: Tensor, num_rows: int, totals: Totals) -> Tensor:
    """Every token weighs 1 / number of rows: the policy gradient as derived, a row being the sum of its tokens."""
    return torch.full(row_N.shape, 1 / max(totals.num_rows, 1), dtype=torch.float32, device=row_N.device)


@dataclass(frozen=True, slots=True)
class FixedLength:
    """Every token weighs 1 / (rows * max_tokens), however long its row is (Dr. GRPO, arXiv:2503.20783)."""

    max_tokens: int

    def __call__(self, row_N: Tensor, num_rows: int, totals: Totals) -> Tensor:
        """The weight of each token."""
        return sequence_sum(row_N, num_rows, totals) / self.max_tokens


# ---------------------------------------------------------------- losses


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
    """-sum(weight * gain(ratio, credit)) + kl * KL(policy, reference), the KL by Schulman's k3 estimator.

    `correction` weighs the gain of each token, `terms` are added with their coefficients; `weight` is `reduce`.
    """

    ratio: Ratio
    gain: Gain
    reduce: Reduce
    kl: float = 0.0
    correction: Correction | None = None
    terms: tuple[Term, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields of Tokens that must be given, beside those that always are."""
        return _needs(self.kl, self.terms, self.correction)

    def __call__(self, tokens: Tokens, totals: Totals) -> Tensor:
        """The loss as one number."""
        weight_N = self.reduce(tokens.row_N, tokens.num_rows, totals)
        ratio_N = self.ratio(tokens.logprob_N, tokens.old_N, tokens.row_N, tokens.num_rows)
        loss_N = -self.gain(ratio_N, tokens.credit_N, tokens.logprob_N)
        if self.correction is not None:
            loss_N = loss_N * self.correction(tokens)
        if self.kl:
            loss_N = loss_N + self.kl * divergence(tokens)
        return _with_terms((weight_N * loss_N).sum(), self.terms, tokens, weight_N, totals)

    def clip_share(self, ratio_N: Tensor, credit_N: Tensor) -> float:
        """The share of tokens whose gain a bound cut off."""
        cut: Any = getattr(self.gain, "cut", None)
        return float(cut(ratio_N, credit_N).float().mean()) if cut is not None and len(ratio_N) else 0.0

    def num_cut(self, tokens: Tokens) -> float:
        """How many tokens a bound cut off, by the loss's own ratio."""
        with torch.no_grad():
            ratio_N = self.ratio(tokens.logprob_N, tokens.old_N, tokens.row_N, tokens.num_rows)
            return self.clip_share(ratio_N, tokens.credit_N) * len(ratio_N)

    def drift(self, tokens: Tokens) -> float:
        """The sum over tokens of (r - 1)^2, by the loss's own ratio."""
        with torch.no_grad():
            ratio_N = self.ratio(tokens.logprob_N, tokens.old_N, tokens.row_N, tokens.num_rows)
            return float((ratio_N - 1).square().sum())


@dataclass(frozen=True, slots=True)
class Likelihood:
    """-sum(weight * credit * log pi) + kl * KL(policy, reference): supervised learning, traces weighted by credit."""

    reduce: Reduce
    kl: float = 0.0
    terms: tuple[Term, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields of Tokens that must be given, beside those that always are."""
        return _needs(self.kl, self.terms)

    def __call__(self, tokens: Tokens, totals: Totals) -> Tensor:
        """The loss as one number."""
        weight_N = self.reduce(tokens.row_N, tokens.num_rows, totals)
        loss_N = -tokens.credit_N * tokens.logprob_N
        if self.kl:
            loss_N = loss_N + self.kl * divergence(tokens)
        return _with_terms((weight_N * loss_N).sum(), self.terms, tokens, weight_N, totals)

    def clip_share(self, ratio_N: Tensor, credit_N: Tensor) -> float:
        """Nothing is clipped."""
        return 0.0


def _needs(kl: float, terms: tuple[Term, ...], correction: Correction | None = None) -> tuple[str, ...]:
    """What the parts of a loss need, sorted, each once."""
    found = {"reference_N"} if kl else set()
    found.update(*(term.needs for term in terms), correction.needs if correction is not None else ())
    return tuple(sorted(found))


def _with_terms(value: Tensor, terms: tuple[Term, ...], tokens: Tokens, weight_N: Tensor, totals: Totals) -> Tensor:
    """The loss with its terms added."""
    for term in terms:
        value = value + term.coefficient * term(tokens, weight_N, totals)
    return value
