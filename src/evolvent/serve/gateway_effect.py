"""Trains two agents from outside through the gateway, and measures them on held-out tasks before and after.

`evolvent effect evolvent.serve.gateway_effect:effect`
"""

from __future__ import annotations

from dataclasses import replace

from evolvent.credit.advantage import Standardized
from evolvent.effects import Arm, Observation, arm, compare_ends
from evolvent.evals.measure import Suite
from evolvent.plans import Card, Improve, Phase, cold_start
from evolvent.rollouts.seat import Budgets
from evolvent.serve.agent import Coached, OutsideAgent
from evolvent.training.losses import Clip, Likelihood, PolicyLoss, per_token, token_mean
from evolvent.training.optim import AdamW, Muon, Schedule

CARD = Card(
    name="gateway",
    title="Training an agent that only knows a base URL",
    paper="rllm-org/rllm (agents behind a gateway), arXiv:2402.03300 (GRPO)",
    changes=("rollouts",),
    claim="an agent written elsewhere gets better on held-out tasks by training, and is not rewritten for it",
)

SOLVER = OutsideAgent("evolvent.serve.visitors:solver", timeout_s=120.0, max_at_once=128)
CLERK = replace(SOLVER, agent="evolvent.serve.visitors:clerk")
SUITE = Suite(num_tasks=256, num_levels=1, num_tasks_during=64, best_of=1)


def build(agent: OutsideAgent = SOLVER) -> Improve:
    """Arithmetic with a calculator of the agent's own; half of the demonstrations answer without it."""
    return Improve(
        recipe="gateway",
        source="chain",
        cold_start=coached(agent),
        advantage=Standardized(ddof=1, eps=1e-4),
        loss=PolicyLoss(ratio=per_token, gain=Clip(0.20, 0.28), reduce=token_mean),
        optimizer=AdamW(lr=1e-3),
        num_steps=32,
        tasks_per_step=16,
        group_size=8,
        budgets=Budgets(turn_tokens=48, context_tokens=512, episode_tokens=128),
        workflow=agent,
        suite=SUITE,
        num_threads=1,
    )


def coached(agent: OutsideAgent) -> Phase:
    """Worked solutions said in the agent's own conversations."""
    optimizer = Muon(lr=0.02, rest=AdamW(lr=3e-3, schedule=Schedule(warmup_steps=20)))
    plain = cold_start(300, optimizer, Likelihood(token_mean), levels=2, direct_frac=0.5, batch=16)
    return replace(plain, workflow=Coached(agent, direct_frac=0.5))


def effect(seed: int) -> list[Observation]:
    """Both ends of two runs that differ in nothing but the agent, and what the record is worth."""
    solver, clerk = arm(build(SOLVER), seed), arm(build(CLERK), seed)
    return [
        compare_ends("an agent that only knows a base URL gets better by training", "greater", solver),
        compare_ends("so does another one, of two conversations, put in its place", "greater", clerk),
        *(token_truth(name, one) for name, one in (("solver", solver), ("clerk", clerk))),
    ]


def token_truth(name: str, arm: Arm) -> Observation:
    """The largest difference, step by step, between recorded log-probabilities and those of a fresh forward pass."""
    gaps = tuple(float(line["max_logprob_gap"]) for line in arm.lines if line.get("max_logprob_gap") is not None)
    return Observation(
        claim=f"recorded log-probabilities are those of a fresh forward pass ({name})",
        kind="equal",
        metric="largest gap in nats",
        treated=gaps,
        control=(0.0,) * len(gaps),
        spent=arm.spent,
        spent_control=arm.spent,
        unit="step",
        tolerance=1e-4,
    )
