"""Other gains than PPO's clip, and the weight that corrects for a sampler which is not quite the trainer."""

# N tokens that the policy wrote

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from evolvent.errors import BadInput
from evolvent.training.losses import Clip, Tokens


@dataclass(frozen=True, slots=True)
class DualClip:
    """Clip, and at least most * A where A < 0: a bad token that grew likely cannot drown the batch (arXiv:1912.09729).

    The same as the two-sided clip of INTELLECT-2 (arXiv:2505.07291), which clamps r to `most` before the minimum.
    """

    low: float
    high: float
    most: float

    def __post_init__(self) -> None:
        if self.most <= 1 + self.high:
            raise BadInput("the bound lies inside the clip", where="most", got=self.most, wanted=f"> {1 + self.high}")

    def __call__(self, ratio_N: Tensor, credit_N: Tensor, logprob_N: Tensor | None = None) -> Tensor:
        """What is gained by each token."""
        gain_N = Clip(self.low, self.high)(ratio_N, credit_N)
        return torch.where(credit_N < 0, torch.maximum(gain_N, self.most * credit_N), gain_N)

    def cut(self, ratio_N: Tensor, credit_N: Tensor) -> Tensor:
        """Where one of the bounds holds, and the gradient is zero."""
        return ratio_N * credit_N != self(ratio_N, credit_N)


@dataclass(frozen=True, slots=True)
class Weighted:
    """sg(clip(r, least, most)) A log pi: every token keeps a gradient, its weight is bounded (CISPO, arXiv:2506.13585).

    `sg` stops the gradient; `most` bounds the ratio itself, so that CISPO's 1 + epsilon_high is written out.
    """

    most: float
    least: float = 0.0  # as published: no lower bound

    def __call__(self, ratio_N: Tensor, credit_N: Tensor, logprob_N: Tensor) -> Tensor:
        """What is gained by each token."""
        return ratio_N.detach().clamp(self.least, self.most) * credit_N * logprob_N

    def cut(self, ratio_N: Tensor, credit_N: Tensor) -> Tensor:
        """Where the weight is held; unlike a clip it leaves a gradient."""
        return (ratio_N < self.least) | (ratio_N > self.most)


@dataclass(frozen=True, slots=True)
class Gate:
    """4 / t sigmoid(t (r - 1)) A: a gradient that fades smoothly away from r = 1 (SAPO, arXiv:2511.20347).

    Its slope at r = 1 is 1, as that of r A; the temperature t is `positive` where A > 0, else `negative`.
    """

    positive: float = 1.0  # SAPO
    negative: float = 1.05

    def __call__(self, ratio_N: Tensor, credit_N: Tensor, logprob_N: Tensor | None = None) -> Tensor:
        """What is gained by each token."""
        heat_N = torch.where(credit_N > 0, self.positive, self.negative)
        return torch.sigmoid(heat_N * (ratio_N - 1)) * 4 / heat_N * credit_N


def plain(ratio_N: Tensor, credit_N: Tensor, logprob_N: Tensor) -> Tensor:
    """r A: importance sampling without a bound; on-policy its gradient is REINFORCE's."""
    return ratio_N * credit_N


@dataclass(frozen=True, slots=True)
class Truncated:
    """sg(min(pi_old / pi_sampler, most)) of each token, a weight for tokens that another program sampled.

    Where sampler and trainer compute different log-probabilities for one model, on-policy data is off-policy; the
    weight corrects that, truncated so that its variance stays bounded (TIS: Yao et al. 2025; Ionides 2008).
    """

    most: float
    needs: ClassVar[tuple[str, ...]] = ("sampler_N",)

    def __call__(self, tokens: Tokens) -> Tensor:
        """The weight of each token; exactly 1 where sampler and trainer agree."""
        sampler_N = tokens.need("sampler_N", "a correction of the sampler", "give the sampler's log-probabilities")
        return (tokens.old_N - sampler_N).detach().exp().clamp(max=self.most)
