"""Group baseline in place of a critic: each attempt is compared with its siblings, in units of their deviation."""

from __future__ import annotations

from dataclasses import replace

from evolvent.credit.advantage import Standardized
from evolvent.plans import Card, Improve
from evolvent.recipes import circle
from evolvent.training.losses import Clip, PolicyLoss, per_token, sequence_mean

CARD = Card(
    name="grpo",
    title="Group Relative Policy Optimization",
    paper="arXiv:2402.03300 (DeepSeekMath)",
    changes=("credit", "training"),
    claim="a baseline from a group of attempts trains an agent without a critic",
    verdict="not measured",
)


def build() -> Improve:
    """The main job with the loss as published: one clip both ways, a mean within each attempt, a KL penalty."""
    return replace(
        circle.build(),
        recipe="grpo",
        advantage=Standardized(ddof=1, eps=1e-4),  # the paper leaves ddof open; 1 as in TRL and verl
        # 0.2 is PPO's, which the paper does not change; 0.04 and k3 are its own, section 4.2 and equation 4
        loss=PolicyLoss(ratio=per_token, gain=Clip(0.2, 0.2), reduce=sequence_mean, kl=0.04),
    )
