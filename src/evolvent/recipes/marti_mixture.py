"""Mixture of agents: proposers side by side, and an aggregator that reads them all."""

from __future__ import annotations

from dataclasses import replace

from evolvent.credit.advantage import Standardized, imitate_all
from evolvent.credit.turns import PerTurn
from evolvent.curriculum import Uniform
from evolvent.effects import Observation, arm
from evolvent.effects.arms import NEVER
from evolvent.effects.teams import Readers, compare_team
from evolvent.envs import Toolbox
from evolvent.evals.measure import Suite
from evolvent.models import ModelSpec
from evolvent.plans import Card, Improve, Phase
from evolvent.rewards import by_task
from evolvent.rewards.central import Central, margin, same_trajectory
from evolvent.rollouts.graph import debate, mixture
from evolvent.rollouts.rehearsal import RehearseTeam
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.selfplay import Alone
from evolvent.rollouts.team import Teamwork, last_word
from evolvent.tasks.machines import Machines, any_run
from evolvent.training.losses import Clip, Likelihood, PolicyLoss, per_token, token_mean
from evolvent.training.optim import AdamW, Muon, Schedule

CARD = Card(
    name="marti_mixture",
    title="MARTI: a mixture of agents, trained",
    paper="ICLR 2026, openreview E7jZqo0A50",
    changes=("rollouts", "rewards", "credit"),
    claim="a mixture that was trained beats one that was not, and the vote of a model trained alone at as many samples",
    verdict="unstable",
    note="Shown: better by 0.07 [0.00, 0.15] than before practice; told of other problems, it loses. Better than the "
    "vote of as many attempts of one trained alone on one seed of three (+0.17, -0.06, -0.01), and practice does "
    "not teach to gain from reading (+0.01 [-0.08, 0.12]).",
)

WORK = Teamwork(mixture(3), last_word)
PROPOSERS, AGGREGATOR = WORK.graph.seats[:-1], WORK.graph.seats[-1]
ALL_READ = Teamwork(replace(debate(4, 2, remembers=False), seats=WORK.graph.seats), last_word)  # is rehearsed
NUM_TURNS = 4  # of an episode, and so the attempts that a vote alone may have


def build() -> Improve:
    """Three proposers and an aggregator with one set of weights; the cold start shows how to talk, seldom what for."""
    cold = Phase(
        num_steps=600,
        tasks_per_step=6,
        group_size=1,
        workflow=RehearseTeam(ALL_READ, any_run, heeds_frac=0.3),
        curriculum=Uniform(1),
        advantage=imitate_all,
        loss=Likelihood(token_mean),
        optimizer=Muon(lr=0.02, rest=AdamW(lr=3e-3, schedule=Schedule(20, 600, 0.1))),
    )
    return Improve(
        recipe="marti_mixture",
        source=Machines(),
        model=ModelSpec(depth=2, max_context=96),
        seats=dict.fromkeys(WORK.graph.seats, "agent"),
        cold_start=cold,
        curriculum=Uniform(1),
        workflow=WORK,
        world=Toolbox(()),
        reward=Central(same_trajectory, margin),
        truth=by_task,
        advantage=PerTurn(Standardized(ddof=1, eps=1e-6)),
        loss=PolicyLoss(ratio=per_token, gain=Clip(0.2, 0.2), reduce=token_mean),
        optimizer=AdamW(lr=5e-4),
        num_steps=80,
        tasks_per_step=8,
        group_size=8,
        budgets=Budgets(turn_tokens=12, context_tokens=96, episode_tokens=48),
        num_threads=1,
    )


def alone(plan: Improve) -> Improve:
    """The control: as many updates on as many completions of one proposer that talks to nobody."""
    tasks = plan.tasks_per_step * NUM_TURNS
    return replace(plan, practice_workflow=Alone(PROPOSERS[0]), reward=by_task, tasks_per_step=tasks)


def effect(seed: int) -> list[Observation]:
    """The team against itself before, against a vote of one alone, and told of other problems."""
    suite = Suite(num_tasks=384, num_tasks_during=16, num_levels=1, best_of=1)
    plan = replace(build(), suite=suite, eval_every=NEVER)
    team, single, before = arm(plan, seed), arm(alone(plan), seed), arm(replace(plan, num_steps=0), seed)
    who = Readers((AGGREGATOR,), depth=1, lone=PROPOSERS[0], num_turns=NUM_TURNS)
    return compare_team(team, single, before, who)
