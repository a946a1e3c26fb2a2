"""The ratio of whole attempts: where the reward is of a sequence, so is what is clipped."""

from __future__ import annotations

from dataclasses import replace

from evolvent.credit.advantage import Standardized
from evolvent.plans import Card, Improve
from evolvent.recipes import circle
from evolvent.training.losses import Clip, PolicyLoss, per_sequence, sequence_mean

CARD = Card(
    name="gspo",
    title="Group Sequence Policy Optimization",
    paper="arXiv:2507.18071",
    changes=("training",),
    claim="the geometric mean of an attempt's ratios has far less variance than the ratios of its tokens",
    verdict="not measured",
)


def build() -> Improve:
    """The main job with one ratio an attempt, and the bounds that belong to it."""
    return replace(
        circle.build(),
        recipe="gspo",
        advantage=Standardized(ddof=1, eps=1e-4),
        loss=PolicyLoss(ratio=per_sequence, gain=Clip(3e-4, 4e-4), reduce=sequence_mean),  # section 5.1
    )
