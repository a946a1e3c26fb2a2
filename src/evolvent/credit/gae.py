"""From rewards and a critic's values to an advantage and a target for every token: generalised advantage estimation."""

# T tokens that the policy wrote in one trace, in order; what an environment wrote in between is left out

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evolvent.errors import BadInput

Floats = NDArray[np.float64]
Lambda = Callable[[int], float]


def gae(
    rewards_T: Sequence[float], values_T: Sequence[float], *, gamma: float, lam: float, last: float = 0.0
) -> Floats:
    """A_t = delta_t + gamma lam A_(t+1), delta_t = r_t + gamma v_(t+1) - v_t (arXiv:1506.02438, equation 16), (T,).

    `last` is the value behind the last token: 0 where the trace ended, a prediction where it was cut. With
    lam = gamma = 1 and last = 0 the advantage is the return from t on, less the value.
    """
    reward_T, value_T = np.asarray(rewards_T, dtype=np.float64), np.asarray(values_T, dtype=np.float64)
    if reward_T.shape != value_T.shape or reward_T.ndim != 1:
        raise BadInput(
            "rewards and values differ in shape",
            where="gae",
            got=f"{reward_T.shape} and {value_T.shape}",
            wanted="one of each per token that the policy wrote",
        )
    delta_T = reward_T + gamma * np.append(value_T[1:], last) - value_T
    advantage_T = np.zeros_like(delta_T)
    following = 0.0
    for t in range(len(delta_T) - 1, -1, -1):
        following = delta_T[t] + gamma * lam * following
        advantage_T[t] = following
    return advantage_T


def returns(rewards_T: Sequence[float], *, gamma: float = 1.0, last: float = 0.0) -> Floats:
    """R_t = r_t + gamma R_(t+1), (T,): what a value is pretrained to predict, since it needs no value itself.

    Fitted on traces of a fixed policy before the policy learns, a critic starts unbiased (VC-PPO, arXiv:2503.01491;
    VAPO, arXiv:2504.05118); the same as advantage plus value at lam = 1.
    """
    return gae(rewards_T, np.zeros(len(rewards_T)).tolist(), gamma=gamma, lam=1.0, last=last)


def explained_variance(values_T: Sequence[float], targets_T: Sequence[float]) -> float:
    """1 - var(target - value) / var(target): 1 for a perfect critic, 0 for a constant, NaN where nothing varies."""
    target_T = np.asarray(targets_T, dtype=np.float64)
    spread = float(target_T.var())
    return 1 - float((target_T - np.asarray(values_T)).var()) / spread if spread else float("nan")


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same lambda for every trace."""

    lam: float

    def __post_init__(self) -> None:
        if not 0 <= self.lam <= 1:
            raise BadInput("no such lambda", where="lam", got=self.lam, wanted="0 <= lam <= 1")

    def __call__(self, num_tokens: int) -> float:
        """Lambda for a trace of that many tokens."""
        return self.lam


@dataclass(frozen=True, slots=True)
class LengthAdaptive:
    """lambda = 1 - 1 / (alpha * length), at least `least`: the longer a trace, the farther credit travels (VAPO).

    The horizon 1 / (1 - lambda) grows with the length, alpha * length tokens of it. The formula is negative for traces
    shorter than 1 / alpha (20 tokens as published: 10 tokens give -1), hence the bound.
    """

    alpha: float = 0.05  # VAPO, arXiv:2504.05118
    least: float = 0.0

    def __post_init__(self) -> None:
        if self.alpha <= 0 or not 0 <= self.least <= 1:
            raise BadInput("no such lambda", where="LengthAdaptive", got=self, wanted="alpha > 0, 0 <= least <= 1")

    def __call__(self, num_tokens: int) -> float:
        """Lambda for a trace of that many tokens."""
        return max(self.least, 1 - 1 / (self.alpha * max(num_tokens, 1)))


@dataclass(frozen=True, slots=True)
class GAE:
    """Advantages with the policy's lambda, targets with the critic's: decoupled, as in VC-PPO and VAPO.

    A reward at the end reaches the first token with lambda^(T - 1) of its weight: the critic of a long trace learns
    nothing there unless its own lambda is 1, while the policy's may stay lower for the sake of variance.
    """

    policy: Lambda
    critic: Lambda = Fixed(1.0)
    gamma: float = 1.0

    def __call__(
        self, rewards_T: Sequence[float], values_T: Sequence[float], *, last: float = 0.0
    ) -> tuple[Floats, Floats]:
        """Advantage of each token and target of its value, both (T,)."""
        num, value_T = len(rewards_T), np.asarray(values_T, dtype=np.float64)
        plan: dict[str, Any] = {"gamma": self.gamma, "last": last}
        advantage_T = gae(rewards_T, values_T, lam=self.policy(num), **plan)
        return advantage_T, gae(rewards_T, values_T, lam=self.critic(num), **plan) + value_T


def at_the_end(score: float, num_tokens: int) -> Floats:
    """Rewards of a trace that is judged as a whole: the score on its last token, 0 before, (T,)."""
    reward_T = np.zeros(num_tokens)
    reward_T[-1:] = score
    return reward_T
