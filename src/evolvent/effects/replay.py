"""Plays tasks of one's choice with the policies that an arm ended with."""

from __future__ import annotations

from collections.abc import Iterable

from evolvent.effects.arms import Arm
from evolvent.records import Episode, Sampling, Task
from evolvent.rewards.by_task import judge_episodes, lift
from evolvent.rollouts.play import Attempt, Stage, Workflow, play
from evolvent.seeds import derive


def replay(
    arm: Arm,
    tasks: Iterable[Task],
    num_attempts: int = 1,
    workflow: Workflow | None = None,
    temperature: float | None = None,
) -> list[Episode]:
    """Attempts judged by what the arm was measured by; `workflow` plays them in another way than the plan's.

    Without a `temperature` they are sampled as in training, at 1.
    """
    plan = arm.plan
    hot = plan.temperature if temperature is None else temperature
    stage = Stage(
        workflow=workflow or plan.workflow,
        world=plan.world,
        policies=arm.policies,
        seats=plan.seats,
        how=Sampling(plan.budgets.turn_tokens, hot, seed=derive(plan.seed, "replay") >> 1),
        budgets=plan.budgets,
    )
    attempts = [Attempt(task, sample) for task in tasks for sample in range(num_attempts)]
    return judge_episodes(lift(plan.measured_by), play(attempts, stage))
