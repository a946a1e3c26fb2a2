"""Hard problems from self-play: a setter is paid where a verifier accepts what it wrote and a frozen solver fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from evolvent import tasks
from evolvent.credit.advantage import Standardized, imitate_all
from evolvent.curriculum import Uniform
from evolvent.effects import Arm, Observation, arm, compare_tasks
from evolvent.evals.contrast import Kind
from evolvent.evals.measure import Suite
from evolvent.models.spec import ModelSpec
from evolvent.plans import Card, Improve, Phase
from evolvent.records import Sampling
from evolvent.rewards import by_task
from evolvent.rewards.gated import Gated
from evolvent.rewards.workers import shared
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.selfplay import Alone, Domain, Practise, Rehearse, SelfPlay, readable, verified
from evolvent.synthesis.domains import Factorings, Integrals
from evolvent.training.losses import Clip, Likelihood, PolicyLoss, per_token, token_mean
from evolvent.training.optim import AdamW, Muon, Schedule

CARD = Card(
    name="vhg",
    title="Verifier-backed hard problem generation",
    paper="arXiv:2605.06660",
    changes=("rollouts", "rewards", "synthesis"),
    claim="paid for hard problems a setter writes broken ones, unless a verifier stands between it and its pay",
    verdict="shown",
    note="two signs of the paper are no claims here: on development seeds solvers on seeds alone and on ungated ones "
    "tied at held-out depth, and the share of problems that the first solver never solves did not grow at every length",
)

NUM_ATTEMPTS = 4  # at each problem, by the solver and by the anchor
SEATS = {
    "setter": "setter",
    **{f"{role}/{i}": role for role in ("solver", "anchor") for i in range(1, NUM_ATTEMPTS + 1)},
}


def build() -> Improve:
    """Integrals: setter and solver learn, and an anchor, the solver as practice began, tells what is hard."""
    return self_play(Integrals(), "antiderivative", seed_levels=2, shown_levels=3)


def self_play(domain: Domain, source: str, seed_levels: int, shown_levels: int) -> Improve:
    """Self-play in a domain, from seeds of the first levels; a cold start may show deeper ones."""
    cold = Phase(
        num_steps=400,
        tasks_per_step=32,
        group_size=1,
        workflow=Rehearse(domain),
        curriculum=Uniform(shown_levels),
        advantage=imitate_all,
        loss=Likelihood(token_mean),
        optimizer=_fading(400),
    )
    setter, solver = ModelSpec(depth=3, max_context=192), ModelSpec(depth=2, max_context=192)
    return Improve(
        recipe="vhg",
        source=source,
        model={"setter": setter, "solver": solver, "anchor": solver},
        seats=SEATS,
        frozen=("anchor",),
        copies={"anchor": "solver"},
        cold_start=cold,
        curriculum=Uniform(seed_levels),
        workflow=Alone(),
        practice_workflow=SelfPlay(domain, gate=verified, attempted_by=("solver", "anchor"), instead=("solver",)),
        reward=Gated(against=("anchor",), coverage=0.5, faults=domain.faults),
        truth=by_task,
        advantage=Standardized(ddof=1, eps=1e-4),
        loss=PolicyLoss(ratio=per_token, gain=Clip(0.20, 0.28), reduce=token_mean),
        # at 1e-3 without a warm-up one update took the share of valid proposals from 0.47 to 0.03
        optimizer=AdamW(lr=3e-4, schedule=Schedule(warmup_steps=5)),
        num_steps=100,
        tasks_per_step=16,
        group_size=8,
        budgets=Budgets(turn_tokens=96, context_tokens=192, episode_tokens=96),
        num_threads=1,
    )


def _fading(num_steps: int) -> Muon:
    return Muon(lr=0.02, rest=AdamW(lr=3e-3, schedule=Schedule(20, num_steps, 0.1)))


def ungated(plan: Improve) -> Improve:
    """The same pay for everything that can be read, true or not."""
    assert isinstance(plan.practice_workflow, SelfPlay)
    return replace(plan, practice_workflow=replace(plan.practice_workflow, gate=readable))


# ---------------------------------------------------------------- the experiment

DEEPER = (3,)  # one term more than any seed
NUM_PROPOSALS = 384  # that a trained setter is asked for, spread over held-out seeds
NEVER = 1 << 30  # steps


def small(plan: Improve, num_cold: int, num_steps: int) -> Improve:
    """The smallest plan that shows the effect."""
    cold = plan.cold_start
    assert cold is not None
    suite = Suite(num_tasks=64, num_tasks_above=384, num_levels=cold.curriculum.num_levels, best_of=1)
    return replace(
        plan,
        cold_start=replace(cold, num_steps=num_cold, optimizer=_fading(num_cold)),
        num_steps=num_steps,
        tasks_per_step=8,
        suite=suite,
        eval_every=NEVER,
    )


def effect(seed: int) -> list[Observation]:
    """The gate, and the gate left out, and solvers that practise on seeds; then the gate again in a second domain."""
    plan = small(build(), num_cold=250, num_steps=40)
    gated, broken = arm(plan, seed), arm(ungated(plan), seed)
    seeds = arm(replace(plan, practice_workflow=Practise()), seed)
    other = small(self_play(Factorings(), "factoring", seed_levels=1, shown_levels=1), num_cold=160, num_steps=20)
    second, second_broken = arm(other, seed), arm(ungated(other), seed)
    return [
        _compare_proposals("paid through the gate, a setter proposes more that is valid", "greater", gated, broken),
        _compare_proposals("paid without it, a setter forgets what is valid", "less", broken, seeds),
        _audit("what reaches the solver through the gate has a true label", gated, broken),
        compare_tasks("gated problems make a better solver than ungated ones", "greater", gated, broken, levels=DEEPER),
        compare_tasks("gated problems make a better solver than seeds alone", "greater", gated, seeds, levels=DEEPER),
        _compare_proposals("the gate does the same for factorings", "greater", second, second_broken),
    ]


def propose(ended: Arm) -> list[Mapping[str, Any]]:
    """What the setter of a finished arm makes of held-out seeds, as its domain's verifier sees it."""
    plan, cold = ended.plan, ended.plan.cold_start
    assert cold is not None and isinstance(cold.workflow, Rehearse) and isinstance(plan.source, str)
    source = tasks.source(plan.source, plan.seed)
    drawn = [source.task(source.families[0], plan.curriculum.num_levels, i, "test") for i in range(NUM_PROPOSALS)]
    seeds = list({task.question: task for task in drawn}.values())
    stage = Stage(
        workflow=SelfPlay(cold.workflow.domain, gate=verified, attempted_by=()),
        world=plan.world,
        policies=ended.policies,
        seats=plan.seats,
        how=Sampling(plan.budgets.turn_tokens, seed=plan.seed),
        budgets=plan.budgets,
    )
    places = [divmod(i, len(seeds)) for i in range(NUM_PROPOSALS)]
    return [e.info for e in play([Attempt(seeds[place], sample) for sample, place in places], stage)]


def _compare_proposals(claim: str, kind: Kind, treated: Arm, control: Arm) -> Observation:
    return Observation(
        claim=claim,
        kind=kind,
        metric="share of valid proposals",
        treated=tuple(float(not info["fault"]) for info in propose(treated)),
        control=tuple(float(not info["fault"]) for info in propose(control)),
        spent=treated.spent,
        spent_control=control.spent,
        unit="proposal",
    )


def _audit(claim: str, gated: Arm, broken: Arm) -> Observation:
    """Another verifier, which knows nothing of the gate's, differentiates what each gate would let through."""
    accepted = [info for info in propose(gated) if not info["fault"]]
    readable_ones = [info for info in propose(broken) if info["fault"] in ("", "wrong", "copy")]
    return Observation(
        claim=claim,
        kind="greater",
        metric="share of true labels by numbers",
        treated=tuple(map(_is_true, accepted)) or (0.0,),
        control=tuple(map(_is_true, readable_ones)) or (1.0,),
        spent=gated.spent,
        spent_control=broken.spent,
        unit="proposal",
        is_paired=False,
    )


def _is_true(info: Mapping[str, Any]) -> float:
    said = {"integrand": info["problem"], "given": info["reference"]}
    return float(shared().run("evolvent.rewards.calculus:agree_in_numbers", 20.0, **said)["agrees"])
