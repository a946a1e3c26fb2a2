"""Debate: everybody answers, hears the others and answers again, and every turn is paid by one judge of all."""

from __future__ import annotations

from dataclasses import replace

from evolvent.credit.advantage import Standardized, imitate_all
from evolvent.credit.turns import PerTurn
from evolvent.curriculum import Uniform
from evolvent.effects import Observation, arm, compare_tasks
from evolvent.effects.arms import NEVER
from evolvent.effects.teams import Readers, compare_team
from evolvent.envs import Toolbox
from evolvent.evals.measure import Suite
from evolvent.models import ModelSpec
from evolvent.plans import Card, Improve, Phase
from evolvent.rewards import by_task
from evolvent.rewards.central import Central, all_earlier_rounds, margin, quality
from evolvent.rollouts.graph import debate
from evolvent.rollouts.rehearsal import RehearseTeam
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.selfplay import Alone
from evolvent.rollouts.team import Teamwork
from evolvent.tasks.machines import Machines, any_run
from evolvent.training.losses import Clip, Likelihood, PolicyLoss, per_token, token_mean
from evolvent.training.optim import AdamW, Muon, Schedule

CARD = Card(
    name="marti_debate",
    title="MARTI: multi-agent debate, trained",
    paper="ICLR 2026, openreview E7jZqo0A50",
    changes=("rollouts", "rewards", "credit"),
    claim="a debate that was trained beats one that was not, and the vote of a model trained alone at as many samples",
    verdict="unstable",
    note="Better on each seed, by 0.06 [-0.01, 0.16] than before practice and by 0.08 [-0.01, 0.17] than the vote of "
    "six attempts of one trained alone; told of other problems, it loses. The seats share weights "
    "(`shared_agents`). Guesses are blind here and their marks tell a reader all, so a vote is a weak rival: some "
    "of 6 attempts is right in 0.93 (development). An attempt that admits to have missed earns 0.3: where it "
    "earned 0, such attempts fell from 0.19 to 0.02 in 30 updates of a development seed, and reading was worth "
    "nothing. Not shown: that a shape of the pay helps (`shaping` measures it).",
)

WORK = Teamwork(debate(3, 2, remembers=False))
NUM_TURNS = 6  # of an episode, and so the attempts that a vote alone may have


def build() -> Improve:
    """Three debaters with one set of weights, two rounds; the cold start shows how to talk, and seldom what for."""
    cold = Phase(
        num_steps=600,
        tasks_per_step=8,
        group_size=1,
        workflow=RehearseTeam(WORK, any_run, heeds_frac=0.3),
        curriculum=Uniform(1),
        advantage=imitate_all,
        loss=Likelihood(token_mean),
        optimizer=Muon(lr=0.02, rest=AdamW(lr=3e-3, schedule=Schedule(20, 600, 0.1))),
    )
    return Improve(
        recipe="marti_debate",
        source=Machines(),
        model=ModelSpec(depth=2, max_context=96),
        seats=dict.fromkeys(WORK.graph.seats, "agent"),
        cold_start=cold,
        curriculum=Uniform(1),
        workflow=WORK,
        world=Toolbox(()),
        reward=Central(all_earlier_rounds, margin),
        truth=by_task,
        advantage=PerTurn(Standardized(ddof=1, eps=1e-6)),
        loss=PolicyLoss(ratio=per_token, gain=Clip(0.2, 0.2), reduce=token_mean),
        optimizer=AdamW(lr=5e-4),
        num_steps=40,
        tasks_per_step=8,
        group_size=8,
        budgets=Budgets(turn_tokens=12, context_tokens=96, episode_tokens=48),
        num_threads=1,
    )


def alone(plan: Improve) -> Improve:
    """The control: as many updates on as many completions of one debater that talks to nobody."""
    seat = WORK.graph.seats[0]
    tasks = plan.tasks_per_step * NUM_TURNS
    return replace(plan, practice_workflow=Alone(seat), reward=by_task, tasks_per_step=tasks)


def effect(seed: int) -> list[Observation]:
    """The team against itself before, against a vote of one alone, and told of other problems."""
    plan = measured(build())
    team, single, before = arm(plan, seed), arm(alone(plan), seed), arm(replace(plan, num_steps=0), seed)
    seats = WORK.graph.seats
    return compare_team(team, single, before, Readers(seats, depth=1, lone=seats[0], num_turns=NUM_TURNS))


def shaping(seed: int) -> list[Observation]:
    """What is paid beside being right: the margin, the quality, and the outcome, each against nothing."""
    plan, plain = measured(build()), Central(all_earlier_rounds)
    control = arm(replace(plan, reward=plain), seed)
    rewards = {
        "the margin": replace(plain, shape=margin),
        "the quality": replace(plain, shape=quality),
        "the margin with the outcome": replace(plain, shape=margin, beta=0.5),
    }
    arms = {name: arm(replace(plan, reward=reward), seed) for name, reward in rewards.items()}
    claim = "{} teaches more than being right alone"
    return [compare_tasks(claim.format(name), "greater", one, control) for name, one in arms.items()]


def measured(plan: Improve) -> Improve:
    """The plan with as few measurements as the effect needs."""
    return replace(plan, suite=Suite(num_tasks=384, num_tasks_during=16, num_levels=1, best_of=1), eval_every=NEVER)
