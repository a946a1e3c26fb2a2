"""The control of the main job: the same cold start, then more of it, for as many tokens as practice would sample."""

from __future__ import annotations

from dataclasses import replace

from evolvent.credit.advantage import imitate_all
from evolvent.curriculum import Uniform
from evolvent.plans import Card, Improve
from evolvent.recipes import circle

CARD = Card(
    name="sft",
    title="Supervised fine-tuning on worked solutions",
    paper="arXiv:2203.02155, step 1",
    changes=("rollouts", "credit", "training"),
    claim="imitation for the same number of tokens neither finds the better strategy nor climbs beyond what was shown",
)

NUM_TOKENS = 1_000_000  # what the circle samples in 240 steps; fixed before the runs that are compared


def build() -> Improve:
    """The circle's plan with practice replaced by imitation."""
    plan, cold = circle.build(), circle.COLD_START
    return replace(
        plan,
        recipe="sft",
        practice_workflow=cold.workflow,
        curriculum=Uniform(2),
        advantage=imitate_all,
        loss=cold.loss,
        optimizer=cold.optimizer,
        group_size=1,
        tasks_per_step=128,
        num_steps=2000,
        max_tokens=NUM_TOKENS,
    )
