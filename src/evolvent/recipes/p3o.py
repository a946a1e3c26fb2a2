"""Pairs of attempts: only the difference of two scores counts, so what a prompt adds to both of them cannot matter."""

from __future__ import annotations

from dataclasses import replace

from evolvent.credit.advantage import Centred
from evolvent.plans import Card, Improve
from evolvent.recipes import circle
from evolvent.training.pairwise import Pairwise

CARD = Card(
    name="p3o",
    title="Pairwise Proximal Policy Optimization",
    paper="arXiv:2310.00212",
    changes=("credit", "training"),
    claim="the update is the same under any offset of a prompt's rewards; with the batch as baseline it is not",
    verdict="not measured",
)


def build() -> Improve:
    """The main job with as many attempts a step, two at each task.

    A pair with equal scores only pulls back to the reference.
    """
    plan = circle.build()
    return replace(
        plan,
        recipe="p3o",
        advantage=Centred(),  # half the difference, with both signs
        loss=Pairwise(beta=0.05, low=0.2, high=0.2, least=0.1, most=10.0),  # released code
        tasks_per_step=plan.tasks_per_step * plan.group_size // 2,
        group_size=2,
    )
