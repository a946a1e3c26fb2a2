"""Pairs of attempts: only the difference of two scores counts, so what a prompt adds to both of them cannot matter."""

from __future__ import annotations

from dataclasses import replace

from evolvent.credit.across import BatchWhitened
from evolvent.credit.advantage import Centred, as_scored
from evolvent.effects import Observation, arm, compare_tasks
from evolvent.plans import Card, Improve
from evolvent.recipes import circle
from evolvent.rewards import by_task
from evolvent.rewards.offset import Offset
from evolvent.training.losses import Clip, PolicyLoss, per_token, token_mean
from evolvent.training.pairwise import Pairwise

CARD = Card(
    name="p3o",
    title="Pairwise Proximal Policy Optimization",
    paper="arXiv:2310.00212",
    changes=("credit", "training"),
    claim="the update is the same under any offset of a prompt's rewards; with the batch as baseline it is not",
    verdict="shown",
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


def small() -> Improve:
    """The same from the circle's short cold start, 24 steps of practice on the first level."""
    short = circle.small()
    return replace(
        build(),
        cold_start=short.cold_start,
        num_steps=24,
        tasks_per_step=short.tasks_per_step * short.group_size // 2,
        suite=short.suite,
    )


def batched(plan: Improve) -> Improve:
    """The plan with the batch as baseline, all else alike."""
    loss = PolicyLoss(ratio=per_token, gain=Clip(0.2, 0.2), reduce=token_mean)
    return replace(plan, advantage=BatchWhitened(ddof=1, eps=1e-8, within=as_scored), loss=loss)


def effect(seed: int) -> list[Observation]:
    """With and without an offset for each prompt, and against a policy gradient whose baseline is the batch's."""
    moved = replace(small(), reward=Offset(std=5.0), truth=by_task)
    pairs, pairs_moved = arm(small(), seed), arm(moved, seed)
    batch, batch_moved = arm(batched(small()), seed), arm(batched(moved), seed)
    return [
        compare_tasks("under offsets, pairs learn more than a batch does", "greater", pairs_moved, batch_moved),
        compare_tasks("offsets change nothing for pairs", "equal", pairs_moved, pairs, tolerance=0.02),
        compare_tasks("they undo what a batch learns", "less", batch_moved, batch),
    ]
