"""A critic in place of a group: each token is compared with what was expected before it was written."""

from __future__ import annotations

from dataclasses import replace

from evolvent.credit.gae import GAE, Fixed
from evolvent.plans import Card, Improve
from evolvent.recipes import circle
from evolvent.training.critic import Critic
from evolvent.training.losses import Clip, PolicyLoss, per_token, token_mean
from evolvent.training.optim import AdamW
from evolvent.training.terms import Terms, Value

CARD = Card(
    name="ppo",
    title="Proximal Policy Optimization with a critic",
    paper="arXiv:1707.06347, arXiv:1506.02438 (GAE)",
    changes=("credit", "training"),
    claim="a learned critic needs no siblings: one attempt a task, and several clipped updates a batch",
    verdict="not measured",
)


def build() -> Improve:
    """The main job with as many attempts a step, each at a task of its own, and four updates a batch.

    The penalty that language models add to the reward, a KL to the starting policy, is left out as in the main job.
    """
    plan = circle.build()
    critic = Critic(
        gae=GAE(policy=Fixed(0.95), critic=Fixed(0.95), gamma=1.0),  # customary for language models
        loss=Terms(token_mean, (Value(1.0, clip=0.2),)),
        optimizer=AdamW(lr=1e-3),
        num_passes=4,
        whitens=True,
    )
    return replace(
        plan,
        recipe="ppo",
        advantage=critic,
        loss=PolicyLoss(ratio=per_token, gain=Clip(0.2, 0.2), reduce=token_mean),
        tasks_per_step=plan.tasks_per_step * plan.group_size,
        group_size=1,
        updates_per_batch=4,
    )
