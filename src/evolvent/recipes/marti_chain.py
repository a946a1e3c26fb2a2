"""Generate, verify, refine: three seats in a row, the verifier of which is paid for the truth of its verdict."""

from __future__ import annotations

from dataclasses import replace

from evolvent.credit.advantage import Standardized, imitate_all
from evolvent.credit.turns import PerTurn
from evolvent.curriculum import Uniform
from evolvent.effects import Arm, Observation, arm
from evolvent.effects.arms import NEVER
from evolvent.effects.teams import Outcomes, Readers, compare_team, observe_tasks, right_of, talk_it_over
from evolvent.envs import Toolbox
from evolvent.evals.measure import Suite
from evolvent.models import ModelSpec
from evolvent.plans import Card, Improve, Phase
from evolvent.rewards import by_task
from evolvent.rewards.central import Central, margin, minutes_of, read_verdict, same_trajectory
from evolvent.rollouts.graph import chain
from evolvent.rollouts.rehearsal import RehearseTeam
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.selfplay import Alone
from evolvent.rollouts.team import Teamwork, last_word
from evolvent.tasks.machines import Machines, any_run
from evolvent.training.losses import Clip, Likelihood, PolicyLoss, per_token, token_mean
from evolvent.training.optim import AdamW, Muon, Schedule

CARD = Card(
    name="marti_chain",
    title="MARTI: a chain of agents, trained",
    paper="ICLR 2026, openreview E7jZqo0A50",
    changes=("rollouts", "rewards", "credit"),
    claim="a chain that was trained beats one that was not, and the vote of a model trained alone at as many samples",
    verdict="not shown",
    note="Shown: better by 0.08 [0.02, 0.15] than before practice and by 0.12 [0.09, 0.16] than the vote of three "
    "attempts of one trained alone. Not shown, though positive on each seed: more gain from reading (0.03 [-0.01, "
    "0.06]), and more true verdicts by a verifier that is paid for them (0.21 [-0.04, 0.38]).",
)

WORK = Teamwork(chain("generator", "verifier", "refiner"), last_word, asks={"verifier": "right?"})
GENERATOR, VERIFIER, REFINER = WORK.graph.seats
NUM_TURNS = 3  # of an episode, and so the attempts that a vote alone may have


def build() -> Improve:
    """Three seats with one set of weights; the cold start shows how to talk, and seldom what for."""
    cold = Phase(
        num_steps=600,
        tasks_per_step=16,
        group_size=1,
        workflow=RehearseTeam(WORK, any_run, heeds_frac=0.3, verifiers=(VERIFIER,)),
        curriculum=Uniform(1),
        advantage=imitate_all,
        loss=Likelihood(token_mean),
        optimizer=Muon(lr=0.02, rest=AdamW(lr=3e-3, schedule=Schedule(20, 600, 0.1))),
    )
    return Improve(
        recipe="marti_chain",
        source=Machines(),
        model=ModelSpec(depth=2, max_context=96),
        seats=dict.fromkeys(WORK.graph.seats, "agent"),
        cold_start=cold,
        curriculum=Uniform(1),
        workflow=WORK,
        world=Toolbox(()),
        reward=Central(same_trajectory, margin, verifiers=(VERIFIER,)),
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
    """The control: as many updates on as many completions of one generator that talks to nobody."""
    tasks = plan.tasks_per_step * NUM_TURNS
    return replace(plan, practice_workflow=Alone(GENERATOR), reward=by_task, tasks_per_step=tasks)


def effect(seed: int) -> list[Observation]:
    """The team against itself before, against a vote of one alone, told of other problems; and an unpaid verifier."""
    suite = Suite(num_tasks=384, num_tasks_during=16, num_levels=1, best_of=1)
    plan = replace(build(), suite=suite, eval_every=NEVER)
    team, single, before = arm(plan, seed), arm(alone(plan), seed), arm(replace(plan, num_steps=0), seed)
    unpaid = arm(replace(plan, reward=Central(same_trajectory, margin)), seed)
    return [
        *compare_team(team, single, before, Readers((REFINER,), depth=2, lone=GENERATOR, num_turns=NUM_TURNS)),
        observe_tasks(
            "a verifier paid for the truth says it more often than one paid as if it answered",
            "share of true verdicts",
            true_verdicts(team),
            true_verdicts(unpaid),
            (team, unpaid),
        ),
    ]


def true_verdicts(ended: Arm) -> Outcomes:
    """Of each held-out task, whether the verdict is what the first answer deserves."""
    played = talk_it_over(ended)
    first = right_of(ended, played, (GENERATOR,), 0)
    verdicts = [read_verdict(str(minutes_of(episode)[1]["words"])) for episode in played]
    return tuple(float(said == (right >= 1.0)) for said, right in zip(verdicts, first, strict=True))
