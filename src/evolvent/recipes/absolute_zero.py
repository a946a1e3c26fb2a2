"""One model proposes programs and reasons about them; an interpreter says what is a problem, and what its answer is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from evolvent.credit.across import BatchWhitened, Key
from evolvent.credit.advantage import imitate_all
from evolvent.curriculum import Uniform
from evolvent.effects import FIRST_LEVEL, Observation, arm, compare_ends, compare_steps, compare_tasks
from evolvent.envs import Toolbox
from evolvent.models import ModelSpec
from evolvent.plans import Card, Improve, Phase
from evolvent.records import Episode, Score, role_of
from evolvent.rewards import by_task
from evolvent.rewards.programs import check, well_formed
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.selfplay import SETTER, UNREADABLE, Alone, Rehearse, SelfPlay, verified
from evolvent.seeds import stream
from evolvent.synthesis.programs import Programs, Triplets
from evolvent.training.losses import Clip, Likelihood, PolicyLoss, per_token, token_mean
from evolvent.training.optim import AdamW, Muon, Schedule
from evolvent.training.terms import Entropy

CARD = Card(
    name="absolute_zero",
    title="Absolute Zero Reasoner",
    paper="arXiv:2505.03335",
    changes=("rollouts", "rewards", "credit"),
    claim="without data, pay for learnable problems makes proposals valid, and problems that an interpreter has "
    "checked make a better solver",
    verdict="not shown",
    note="The solver stays where it began (0.09 to 0.10). "
    "The second control is paid by lot and unlearns: on a development seed it fell from 0.084 to 0.015 on "
    "held-out problems, while the true pay kept 0.087. The share of valid proposals rises by itself (0.62 to 0.88).",
)

SOLVER = "solver"
NUM_ATTEMPTS = 6  # 8 as published
LAST = 10  # steps whose proposals are compared, 72 each


@dataclass(frozen=True, slots=True)
class Learnable:
    """r_propose = 1 - mean solved where that is above 0, else 0; -0.5 for what is useless, -1 for what has no form.

    A solver earns 1 where it is right, -0.5 for a wrong answer of the right form, -1 for none. The roles `by_lot` earn
    1 or -1 by chance instead, which is the control.
    """

    by_lot: tuple[str, ...] = ()

    def __call__(self, episodes: Sequence[Episode]) -> list[dict[str, Score]]:
        """One score for each seat that played."""
        return [self._judge(episode) for episode in episodes]

    def _judge(self, episode: Episode) -> dict[str, Score]:
        info = episode.info
        solvers = {seat: _solver(info["posed"], words) for seat, words in info["attempts"].items()}
        scores = {SETTER: _setter(info, [s.components["solved"] for s in solvers.values()]), **solvers}
        return {seat: self._lot(episode, seat, score) for seat, score in scores.items()}

    def _lot(self, episode: Episode, seat: str, score: Score) -> Score:
        if role_of(seat) not in self.by_lot:
            return score
        call = next(t.turns[-1].call_id for t in episode.traces if t.seat == seat)
        return replace(score, value=stream(0, "lot", call).choice((1.0, -1.0)))


def _setter(info: Mapping[str, Any], solved: Sequence[float]) -> Score:
    if info["refused"]:
        formed = float(info["refused"] != UNREADABLE)
        return Score(-1 + 0.5 * formed, {"valid": 0.0, "formed": formed}, str(info["refused"]))
    mean = fmean(solved)
    value = learnability(mean)
    return Score(value, {"valid": 1.0, "formed": 1.0, "learnable": value, "frontier": float(0 < mean < 1)})


def learnability(solved: float) -> float:
    """1 - solved, and 0 for what nobody solves."""
    return 1 - solved if solved > 0 else 0.0


def _solver(task: Any, words: str) -> Score:
    right = check(task, words).value
    formed = float(well_formed(task, words))
    return Score(1.0 if right else -1 + 0.5 * formed, {"solved": right, "answered": formed})


def by_mode_and_role(key: Key) -> str:
    """Each mode has a baseline for each of its roles (task-relative REINFORCE++); a task's id begins with its mode."""
    return f"{str(key[0]).partition('-')[0]} {key[1]}"


def build() -> Improve:
    """Programs of one number, in three modes; a third of the proposals that the cold start shows are broken."""
    domain = Programs(broken_frac=0.35)
    cold = Phase(
        num_steps=300,
        tasks_per_step=32,
        group_size=1,
        workflow=Rehearse(domain),
        curriculum=Uniform(),
        advantage=imitate_all,
        loss=Likelihood(token_mean),
        optimizer=Muon(lr=0.02, rest=AdamW(lr=3e-3, schedule=Schedule(warmup_steps=20))),
    )
    return Improve(
        recipe="absolute_zero",
        source=Triplets(),
        model=ModelSpec(depth=2),
        seats={SETTER: "agent", **{f"{SOLVER}/{i}": "agent" for i in range(1, NUM_ATTEMPTS + 1)}},
        world=Toolbox(()),
        cold_start=cold,
        curriculum=Uniform(),
        workflow=Alone(),
        practice_workflow=SelfPlay(domain, verified),
        reward=Learnable(),
        truth=by_task,
        advantage=BatchWhitened(ddof=1, eps=1e-8, part=by_mode_and_role),
        loss=PolicyLoss(per_token, Clip(0.2, 0.2), token_mean, terms=(Entropy(0.001),)),
        optimizer=AdamW(lr=1e-3),
        num_steps=40,
        tasks_per_step=9,
        group_size=8,
        budgets=Budgets(turn_tokens=16, context_tokens=96, episode_tokens=16),
        suite=FIRST_LEVEL,
        num_threads=1,
    )


def effect(seed: int) -> list[Observation]:
    """True pay for both roles against pay by lot, for proposers in one control and for solvers in the other."""
    plan = replace(build(), eval_every=build().num_steps)
    treated = arm(plan, seed)
    proposers = arm(replace(plan, reward=Learnable(by_lot=(SETTER,))), seed)
    solvers = arm(replace(plan, reward=Learnable(by_lot=(SOLVER,))), seed)
    return [
        compare_steps(
            "pay for learnable problems makes proposals valid",
            "greater",
            treated,
            proposers,
            key="reward/valid",
            last=LAST,
            metric="share of proposals that are valid",
        ),
        compare_tasks("pay for right answers makes a better solver than pay by lot", "greater", treated, solvers),
        compare_ends("the solver gets better than it began", "greater", treated),
    ]
