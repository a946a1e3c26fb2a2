"""Four repairs of GRPO for long reasoning: clip-higher, a mean over tokens, no penalty, groups with signal only."""

from __future__ import annotations

from dataclasses import replace

from evolvent.credit.advantage import Standardized
from evolvent.curriculum.refill import Refill
from evolvent.plans import Card, Improve
from evolvent.recipes import circle
from evolvent.training.losses import Clip, PolicyLoss, per_token, token_mean

CARD = Card(
    name="dapo",
    title="Decoupled Clip and Dynamic Sampling Policy Optimization",
    paper="arXiv:2503.14476",
    changes=("curriculum", "credit", "training"),
    claim="a wider upper bound keeps entropy, and a mean over tokens lets long attempts count for what they are",
    verdict="not measured",
)


def build() -> Improve:
    """The main job, which has these parts, under the method's name.

    Groups whose scores are equal are replaced by others, at most three times a step, so that a step may end with fewer
    than it should have. The penalty of overlong answers is left out: budgets end an attempt long before it could grow.
    """
    return replace(
        circle.build(),
        recipe="dapo",
        advantage=Standardized(ddof=1, eps=1e-4),
        loss=PolicyLoss(ratio=per_token, gain=Clip(0.20, 0.28), reduce=token_mean),  # equations 8 and 12
        refill=Refill(max_draws=4),  # equation 11; the paper draws until the step is full
    )
