"""Leave-one-out baseline: each attempt is compared with the mean of the others, and a whole answer is one action."""

from __future__ import annotations

from dataclasses import replace

from evolvent.credit.advantage import LeaveOneOut, as_scored
from evolvent.effects import Observation, arm, compare_tasks
from evolvent.plans import Card, Improve
from evolvent.recipes import circle
from evolvent.rewards import by_task
from evolvent.rewards.offset import Offset
from evolvent.training.gains import plain
from evolvent.training.losses import PolicyLoss, per_token, sequence_sum

CARD = Card(
    name="rloo",
    title="REINFORCE Leave-One-Out",
    paper="arXiv:2402.14740",
    changes=("credit", "training"),
    claim="with the other attempts as an unbiased baseline plain REINFORCE learns whatever zero a task's scores have",
    verdict="unstable",
    note="scores have an offset of their own for each task (deviation 2). On one of three seeds REINFORCE without a "
    "baseline was not hurt. Development: 0.93 against 0.69 on seed 101; on seed 100 0.93 against 0.77 (deviation 1), "
    "0.02 (5), and without offsets it needed no baseline there (0.93 against 0.96)",
)


def build() -> Improve:
    """The main job with REINFORCE: no clip, no deviation, the sum over an answer's tokens.

    The paper takes a KL penalty off the reward for the sake of a learned reward model; a verifier needs none.
    """
    return replace(
        circle.build(),
        recipe="rloo",
        advantage=LeaveOneOut(),
        loss=PolicyLoss(ratio=per_token, gain=plain, reduce=sequence_sum),
    )


def small() -> Improve:
    """The same from the circle's short cold start, 24 steps of practice on the first level."""
    short = circle.small()
    return replace(
        build(), cold_start=short.cold_start, num_steps=24, tasks_per_step=short.tasks_per_step, suite=short.suite
    )


def effect(seed: int) -> list[Observation]:
    """Siblings as the baseline against no baseline, where a score is known only up to a number for each prompt.

    That is how a learned reward comes. With a verifier's 0 and 1 a wrong attempt weighs nothing without a baseline, so
    that REINFORCE imitates what was right, and learns as well.
    """
    plan = replace(small(), reward=Offset(std=2.0), truth=by_task)
    treated, control = arm(plan, seed), arm(replace(plan, advantage=as_scored), seed)
    return [compare_tasks("leave-one-out learns more than REINFORCE without a baseline", "greater", treated, control)]
