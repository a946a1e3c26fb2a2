"""The control of the main job: the same cold start, then more of it, for as many tokens as practice would sample."""

from __future__ import annotations

from dataclasses import replace

from evolvent.credit.advantage import imitate_all
from evolvent.curriculum import Uniform
from evolvent.effects import Observation, arm, compare_tasks
from evolvent.plans import Card, Improve
from evolvent.recipes import circle

CARD = Card(
    name="sft",
    title="Supervised fine-tuning on worked solutions",
    paper="arXiv:2203.02155, step 1",
    changes=("rollouts", "credit", "training"),
    claim="imitation for as many tokens does not find the better strategy that practice finds",
    verdict="shown",
)

NUM_TOKENS = 1_000_000  # what the circle samples in 240 steps; fixed before the runs that are compared


def build() -> Improve:
    """The circle's plan with practice replaced by imitation."""
    return replace(imitation(circle.build()), tasks_per_step=128, num_steps=2000, max_tokens=NUM_TOKENS)


def imitation(plan: Improve) -> Improve:
    """A plan whose practice goes on with the circle's cold start."""
    cold = circle.COLD_START
    return replace(
        plan,
        recipe="sft",
        practice_workflow=cold.workflow,
        curriculum=Uniform(2),
        advantage=imitate_all,
        loss=cold.loss,
        optimizer=cold.optimizer,
        group_size=1,
    )


def effect(seed: int) -> list[Observation]:
    """Imitation against the circle's practice, from the same cold start, for as many updates and tokens."""
    practice = circle.small()
    imitated = replace(imitation(practice), tasks_per_step=13 * practice.tasks_per_step)  # 8 attempts write as much
    treated, control = arm(imitated, seed), arm(practice, seed)
    return [
        compare_tasks("imitation gets less accurate than practice", "less", treated, control),
        compare_tasks("imitation does not find the better strategy", "less", treated, control, column="used_tool"),
    ]
