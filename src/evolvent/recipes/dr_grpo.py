"""GRPO done right: neither the length of an attempt nor the deviation of its group may scale its gradient."""

from __future__ import annotations

from dataclasses import replace

from evolvent.credit.advantage import Centred
from evolvent.plans import Card, Improve
from evolvent.recipes import circle
from evolvent.training.losses import Clip, FixedLength, PolicyLoss, per_token

CARD = Card(
    name="dr_grpo",
    title="GRPO Done Right",
    paper="arXiv:2503.20783",
    changes=("credit", "training"),
    claim="dividing by a constant in place of the length stops wrong answers from growing, at equal accuracy",
    verdict="not measured",
)


def build() -> Improve:
    """The main job with centred scores and a constant in place of each attempt's length; no penalty."""
    plan = circle.build()
    return replace(
        plan,
        recipe="dr_grpo",
        advantage=Centred(),
        loss=PolicyLoss(
            ratio=per_token, gain=Clip(0.2, 0.2), reduce=FixedLength(max_tokens=plan.budgets.episode_tokens)
        ),
    )
