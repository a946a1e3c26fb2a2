"""Clip the weight, not the gradient: a rare word that became likely keeps teaching, with a bounded say."""

from __future__ import annotations

from dataclasses import replace

from evolvent.credit.advantage import Standardized
from evolvent.effects import Observation, arm, compare_steps, compare_tasks
from evolvent.plans import Card, Improve
from evolvent.recipes import circle
from evolvent.training.gains import Weighted
from evolvent.training.losses import Clip, PolicyLoss, per_token, token_mean
from evolvent.training.optim import AdamW

CARD = Card(
    name="cispo",
    title="Clipped Importance Sampling Policy Optimization",
    paper="arXiv:2506.13585 (MiniMax-M1)",
    changes=("training",),
    claim="with a bounded weight in place of a clip no token loses its gradient, and what pays is learned faster",
    verdict="shown",
)


def build() -> Improve:
    """The main job with weighted log-probabilities; the bound is ScaleRL's, since the paper's is not published."""
    return replace(
        circle.build(),
        recipe="cispo",
        advantage=Standardized(ddof=1, eps=1e-4),
        loss=PolicyLoss(ratio=per_token, gain=Weighted(most=5.0), reduce=token_mean),  # ScaleRL, arXiv:2510.13786
    )


def effect(seed: int) -> list[Observation]:
    """A bounded weight against a clip, early on, where sixteen updates follow each batch."""
    method = build()
    short = replace(circle.small(), recipe="cispo", num_steps=2, updates_per_batch=16, optimizer=AdamW(lr=3e-4))
    plan = replace(short, advantage=method.advantage, loss=method.loss)
    clipped = replace(plan, loss=PolicyLoss(ratio=per_token, gain=Clip(0.2, 0.2), reduce=token_mean))
    treated, control = arm(plan, seed), arm(clipped, seed)
    return [
        compare_tasks("the better strategy is learned faster", "greater", treated, control, column="used_tool"),
        compare_steps("fewer tokens reach a bound", "less", treated, control, key="clip_share"),
    ]
