"""How far the trainer is from the sampler on the same tokens, the bound on it, and the weight that corrects for it."""

# N tokens that the policy wrote

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, cast

from torch import Tensor

from evolvent.errors import BadInput, GateFailed
from evolvent.policies.sampler import Bounds
from evolvent.training.gains import Truncated
from evolvent.training.losses import Loss


@dataclass(slots=True)
class Mismatch:
    """Sums over tokens of r = pi_trainer / pi_sampler on weights that both had, for tokens that the sampler drew."""

    bounds: Bounds
    num: int = 0
    log_ratio: float = 0.0
    excess: float = 0.0
    gap: float = 0.0
    largest: float = 0.0
    num_cut: int = 0
    _broken: bool = field(default=False, init=False)

    def add(self, sampler_N: Tensor, trainer_N: Tensor) -> None:
        """Tokens of one micro-batch, by their two log-probabilities."""
        if not len(sampler_N):
            return
        log_N = (trainer_N - sampler_N).double()
        self.num += len(log_N)
        self.log_ratio += float(log_N.sum())
        self.excess += float((log_N.expm1() - log_N).sum())
        self.gap += float(log_N.abs().sum())
        self.largest = max(self.largest, math.exp(min(float(log_N.max()), 700.0)))
        self.num_cut += int((log_N > math.log(self.bounds.most)).sum())
        self._broken |= not math.isfinite(self.excess)

    def told(self) -> dict[str, float]:
        """Means over tokens: KL(sampler, trainer) as k1 and as k3 (Schulman), the gap, the largest ratio, the cut."""
        num = max(self.num, 1)
        return {
            "mismatch/kl_k1": -self.log_ratio / num,
            "mismatch/kl_k3": self.excess / num,
            "mismatch/mean_gap": self.gap / num,
            "mismatch/max_ratio": self.largest,
            "mismatch/cut_share": self.num_cut / num,
        }

    def check(self, policy: Any) -> None:
        """Stop before a batch is trained on that another distribution drew."""
        found = self.told()["mismatch/kl_k3"]
        if self._broken or found > self.bounds.max_kl:
            raise GateFailed(
                "the engine that sampled is too far from the weights that are trained",
                where=f"policy {policy.name!r}, version {policy.version}",
                got=", ".join(f"{name.partition('/')[2]} {value:.3g}" for name, value in self.told().items()),
                wanted=f"kl_k3 <= {self.bounds.max_kl:g} nats a token",
                cure="nothing was trained on; let both compute in the same numbers (sampler.dtype, dtype), or raise "
                "sampler.bounds.max_kl if a correction may carry that much",
            )


def corrected(loss: Loss, bounds: Bounds | None) -> Loss:
    """The loss with each token's gain weighed by min(pi_trainer / pi_sampler, most), exactly once.

    The ratio of our losses is that of the trainer's new weights to its old ones, never to the sampler's numbers, so
    this weight is the only place where those count. A loss that brings a correction of its own keeps it.
    """
    if bounds is None or not needs_correction(loss) or getattr(loss, "correction", None) is not None:
        return loss
    found: Any = loss
    return cast("Loss", replace(found, correction=Truncated(bounds.most)))


def needs_correction(loss: Loss) -> bool:
    """Whether a loss is an expectation under the sampler; imitation is not, whoever wrote the words."""
    if hasattr(loss, "correction"):
        return True
    if getattr(loss, "is_importance_weighted", False):
        raise BadInput(
            "this loss has a ratio and no place for a correction",
            where="loss",
            got=type(loss).__name__,
            wanted="a PolicyLoss",
            cure="sampler=null: let the weights sample themselves",
        )
    return False
