"""No group at all: scores are whitened over the batch, so one attempt a task is enough."""

from __future__ import annotations

from dataclasses import replace

from evolvent.credit.across import BatchWhitened
from evolvent.credit.advantage import as_scored
from evolvent.plans import Card, Improve
from evolvent.recipes import circle
from evolvent.training.losses import Clip, PolicyLoss, per_token, token_mean

CARD = Card(
    name="reinforce_pp",
    title="REINFORCE++",
    paper="arXiv:2501.03262",
    changes=("credit", "training"),
    claim="a baseline from the whole batch needs no siblings: many tasks with one attempt each train as well",
    verdict="not measured",
)


def build() -> Improve:
    """The main job with as many attempts a step, each at a task of its own.

    The paper's penalty, a KL to the starting policy in every token's reward, is left out as in the main job.
    """
    plan = circle.build()
    return replace(
        plan,
        recipe="reinforce_pp",
        advantage=BatchWhitened(ddof=1, eps=1e-8, within=as_scored),
        loss=PolicyLoss(ratio=per_token, gain=Clip(0.2, 0.2), reduce=token_mean),
        tasks_per_step=plan.tasks_per_step * plan.group_size,
        group_size=1,
    )
