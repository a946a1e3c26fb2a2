"""Clip the weight, not the gradient: a rare word that became likely keeps teaching, with a bounded say."""

from __future__ import annotations

from dataclasses import replace

from evolvent.credit.advantage import Standardized
from evolvent.plans import Card, Improve
from evolvent.recipes import circle
from evolvent.training.gains import Weighted
from evolvent.training.losses import PolicyLoss, per_token, token_mean

CARD = Card(
    name="cispo",
    title="Clipped Importance Sampling Policy Optimization",
    paper="arXiv:2506.13585 (MiniMax-M1)",
    changes=("training",),
    claim="with a bounded weight in place of a clip no token loses its gradient, and learning is faster",
    verdict="not measured",
)


def build() -> Improve:
    """The main job with weighted log-probabilities; the bound is ScaleRL's, since the paper's is not published."""
    return replace(
        circle.build(),
        recipe="cispo",
        advantage=Standardized(ddof=1, eps=1e-4),
        loss=PolicyLoss(ratio=per_token, gain=Weighted(most=5.0), reduce=token_mean),  # ScaleRL, arXiv:2510.13786
    )
