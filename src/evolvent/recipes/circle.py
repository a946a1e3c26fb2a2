"""The main job: a small agent learns to use a calculator, and climbs levels that it was never shown."""

from __future__ import annotations

from dataclasses import replace

from evolvent.credit.advantage import Standardized
from evolvent.curriculum import Frontier
from evolvent.effects import FIRST_LEVEL, Observation, arm, compare_tasks
from evolvent.plans import Card, Improve, cold_start
from evolvent.rewards import shuffled
from evolvent.rollouts.seat import Budgets
from evolvent.training.losses import Clip, Likelihood, PolicyLoss, per_token, token_mean
from evolvent.training.optim import AdamW, Muon, Schedule

CARD = Card(
    name="circle",
    title="The circle: on-policy GRPO over a frontier of difficulty",
    paper="arXiv:2402.03300 (GRPO), arXiv:2503.14476 (clip-higher, token mean)",
    changes=("credit", "training", "curriculum"),
    claim="a verified reward, and not a shuffled one, teaches an agent that mostly guesses to call its tool",
    verdict="shown",
)

COLD_START = cold_start(
    400,
    Muon(lr=0.02, rest=AdamW(lr=3e-3, schedule=Schedule(warmup_steps=20))),
    Likelihood(token_mean),
    levels=2,
    direct_frac=0.5,
)


def build() -> Improve:
    """Chained arithmetic from level 1; the cold start shows levels 1 and 2, half of them answered without the tool."""
    return Improve(
        recipe="circle",
        source="chain",
        cold_start=COLD_START,
        curriculum=Frontier(start_levels=1),
        advantage=Standardized(ddof=1, eps=1e-4),  # as TRL and verl
        # one update a batch: the ratio is exactly 1 and the clip idle (clip_share 0 in metrics.jsonl) until updates lag
        loss=PolicyLoss(ratio=per_token, gain=Clip(0.20, 0.28), reduce=token_mean),  # DAPO, table 1
        optimizer=AdamW(lr=1e-3),
        num_steps=240,
        tasks_per_step=32,
        group_size=8,
        budgets=Budgets(turn_tokens=48, context_tokens=512, episode_tokens=128),
        num_threads=1,  # products this small gain nothing from a second thread, and lose much when its core is taken
    )


def small() -> Improve:
    """The smallest plan that shows the effect: half a minute of cold start, a quarter of practice, the first level."""
    cold = replace(COLD_START, num_steps=300)
    return replace(build(), cold_start=cold, num_steps=48, tasks_per_step=16, suite=FIRST_LEVEL)


def effect(seed: int) -> list[Observation]:
    """The verified reward against the same rewards shuffled within the batch; nothing else differs."""
    treated, control = arm(small(), seed), arm(replace(small(), reward=shuffled), seed)
    return [
        compare_tasks("a verified reward teaches more than a shuffled one", "greater", treated, control),
        compare_tasks("it teaches to call the tool", "greater", treated, control, column="used_tool"),
    ]
