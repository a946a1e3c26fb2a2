"""Four repairs of GRPO for long reasoning: clip-higher, a mean over tokens, no penalty, groups with signal only."""

from __future__ import annotations

from dataclasses import replace

from evolvent.credit.advantage import Standardized
from evolvent.curriculum.refill import Refill
from evolvent.effects import FIRST_LEVEL, Observation, arm, compare_steps
from evolvent.plans import Card, Improve
from evolvent.recipes import circle
from evolvent.training.losses import Clip, PolicyLoss, per_token, token_mean

CARD = Card(
    name="dapo",
    title="Decoupled Clip and Dynamic Sampling Policy Optimization",
    paper="arXiv:2503.14476",
    changes=("curriculum", "credit", "training"),
    claim="drawing again where all attempts fare alike fills a batch with groups that teach, and a wider upper bound "
    "keeps entropy",
    verdict="unstable",
    note="the wider bound kept more entropy on each of three seeds, but little on two of them. Development seed 100, "
    "mean over 24 steps with bounds (0.2, 0.28) against (0.2, 0.2): 0.157 and 0.162 with 4 updates a batch at lr 1e-3; "
    "0.195 and 0.182 with 16; 0.170 and 0.166 with 16 at lr 3e-4, where (0.2, 1.0) gave 0.155",
)


def build() -> Improve:
    """The main job, which has these parts, under the method's name.

    Groups whose scores are equal are replaced by others, at most three times a step, so that a step may end with fewer
    than it should have. The penalty of overlong answers is left out: budgets end an attempt long before it could grow.
    """
    return replace(
        circle.build(),
        recipe="dapo",
        advantage=Standardized(ddof=1, eps=1e-4),
        loss=PolicyLoss(ratio=per_token, gain=Clip(0.20, 0.28), reduce=token_mean),  # equations 8 and 12
        refill=Refill(max_draws=4),  # equation 11; the paper draws until the step is full
    )


def effect(seed: int) -> list[Observation]:
    """Dynamic sampling on and off; both bounds where a batch has sixteen updates, so that they hold something.

    What a mean over tokens does for long attempts is shown by the recipe dr_grpo.
    """
    short = replace(build(), cold_start=circle.small().cold_start, num_steps=24, tasks_per_step=16, suite=FIRST_LEVEL)
    filled, as_drawn = arm(short, seed), arm(replace(short, refill=None), seed)
    often = replace(short, refill=None, updates_per_batch=16)
    wide, even = (arm(replace(often, loss=bounded(high)), seed) for high in (0.28, 0.2))
    return [
        compare_steps("every group tells something", "greater", filled, as_drawn, key="signal_share"),
        compare_steps("a wider upper bound keeps entropy", "greater", wide, even, key="entropy"),
    ]


def bounded(high: float) -> PolicyLoss:
    """The loss with this upper bound."""
    return PolicyLoss(ratio=per_token, gain=Clip(0.20, high), reduce=token_mean)
