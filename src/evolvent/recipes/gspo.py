"""The ratio of whole attempts: where the reward is of a sequence, so is what is clipped."""

from __future__ import annotations

from dataclasses import replace

from evolvent.credit.advantage import Standardized
from evolvent.effects import Observation, arm, compare_steps, compare_tasks
from evolvent.plans import Card, Improve
from evolvent.recipes import circle
from evolvent.training.losses import Clip, PolicyLoss, per_sequence, per_token, sequence_mean
from evolvent.training.optim import AdamW

CARD = Card(
    name="gspo",
    title="Group Sequence Policy Optimization",
    paper="arXiv:2507.18071",
    changes=("training",),
    claim="the geometric mean of an attempt's ratios has far less variance than the ratios of its tokens",
    verdict="shown",
)


def build() -> Improve:
    """The main job with one ratio an attempt, and the bounds that belong to it."""
    return replace(
        circle.build(),
        recipe="gspo",
        advantage=Standardized(ddof=1, eps=1e-4),
        loss=PolicyLoss(ratio=per_sequence, gain=Clip(3e-4, 4e-4), reduce=sequence_mean),  # section 5.1
    )


def effect(seed: int) -> list[Observation]:
    """Ratios of sequences against ratios of tokens, each with its own bounds, where sixteen updates follow a batch."""
    method = build()
    short = replace(circle.small(), recipe="gspo", num_steps=24, updates_per_batch=16, optimizer=AdamW(lr=3e-4))
    plan = replace(short, advantage=method.advantage, loss=method.loss)
    tokens = PolicyLoss(ratio=per_token, gain=Clip(0.2, 0.2), reduce=sequence_mean)
    treated, control = arm(plan, seed), arm(replace(plan, loss=tokens), seed)
    return [
        compare_steps("ratios of sequences vary less", "less", treated, control, key="ratio_spread"),
        compare_steps("far more tokens are clipped", "greater", treated, control, key="clip_share"),
        compare_tasks("and it trains as well", "equal", treated, control, tolerance=0.1),
    ]
