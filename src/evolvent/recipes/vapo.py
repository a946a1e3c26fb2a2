"""A critic that is fitted before the policy moves, and whose advantages reach as far as a trace is long."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from evolvent.credit.gae import GAE, Fixed, LengthAdaptive
from evolvent.curriculum import Uniform
from evolvent.effects import Arm, Observation, Spent, arm, compare_steps, compare_tasks
from evolvent.plans import Card, Improve
from evolvent.recipes import circle
from evolvent.training.critic import Critic
from evolvent.training.losses import Clip, PolicyLoss, Tokens, Totals, per_token, token_mean
from evolvent.training.optim import AdamW
from evolvent.training.terms import Imitation, Terms, Value

CARD = Card(
    name="vapo",
    title="Value-based Augmented Proximal Policy Optimization",
    paper="arXiv:2504.05118, arXiv:2503.01491 (value pretraining)",
    changes=("credit", "training"),
    claim="a critic that is fitted first and sees to the end of a trace trains better than one that starts from zero",
    verdict="unstable",
    note="Measured without the imitation of correct attempts, with which accuracy was alike (0.89 and 0.87), and where "
    "answers are so short that the policy's lambda is 0; at 0.95 it was alike too (0.83 and 0.82).",
)


@dataclass(frozen=True, slots=True)
class ImitateCorrect:
    """-log pi, a mean over the tokens of traces that scored above 0 (VAPO's positive examples)."""

    coefficient: float
    needs: ClassVar[tuple[str, ...]] = ("good_N",)

    def __call__(self, tokens: Tokens, weight_N: Tensor, totals: Totals) -> Tensor:
        """The weighted negative log-likelihood."""
        tokens.need("good_N", "imitation of what was correct", "train through update(), which tells good rows")
        return Imitation(self.coefficient)(tokens, weight_N, totals)


CRITIC = Critic(
    gae=GAE(policy=LengthAdaptive(alpha=0.05), critic=Fixed(1.0), gamma=1.0),
    loss=Terms(token_mean, (Value(1.0),)),
    optimizer=AdamW(lr=2e-3),
    num_passes=4,
    pretrain_batches=12,
)


def build() -> Improve:
    """The main job with a critic: groups of attempts as published, four updates a batch where the paper has sixteen.

    The first twelve batches of practice fit the critic alone, where the paper has 50. An answer here is shorter than
    20 tokens, so that the policy's lambda is 0, and each token's credit the change of value that it brought. A policy
    that outruns its critic is then led astray, so its steps are a fifth of the main job's.
    """
    return replace(
        circle.build(),
        recipe="vapo",
        advantage=CRITIC,
        loss=PolicyLoss(ratio=per_token, gain=Clip(0.20, 0.28), reduce=token_mean, terms=(ImitateCorrect(0.1),)),
        optimizer=AdamW(lr=2e-4),
        updates_per_batch=4,
    )


NUM_LEARNT = 8  # batches


def small() -> Improve:
    """The same from the circle's short cold start: two levels alike, eight batches after the critic is fitted.

    Correct attempts are not imitated: that teaches either way, as long as most of what the model says first is right.
    """
    short = circle.small()
    return replace(
        build(),
        cold_start=short.cold_start,
        curriculum=Uniform(2),
        loss=PolicyLoss(ratio=per_token, gain=Clip(0.20, 0.28), reduce=token_mean),
        num_steps=CRITIC.pretrain_batches + NUM_LEARNT,
        tasks_per_step=short.tasks_per_step,
        suite=short.suite,
    )


def effect(seed: int) -> list[Observation]:
    """A critic fitted first against one that starts from zero, the policy's updates alike; then the critic's lambda."""
    plan, num_fit = small(), CRITIC.pretrain_batches
    near = replace(CRITIC, gae=replace(CRITIC.gae, critic=CRITIC.gae.policy))
    fitted = arm(plan, seed)
    raw = arm(replace(plan, advantage=replace(CRITIC, pretrain_batches=0), num_steps=NUM_LEARNT), seed)
    coupled = arm(replace(plan, advantage=near, num_steps=num_fit), seed)
    early, learning = batches(fitted, 0, num_fit), batches(fitted, num_fit, num_fit + NUM_LEARNT)
    first, raw_first = batches(fitted, num_fit, num_fit + 4), batches(raw, 0, 4)  # later the other is fitted too
    key = "explained_variance"
    return [
        compare_steps(
            "a critic fitted first explains more as the policy sets out", "greater", first, raw_first, key=key
        ),
        compare_tasks("the policy learns more in as many updates", "greater", learning, raw),
        compare_steps("a critic that sees to the end explains more", "greater", early, coupled, key=key),
    ]


def batches(arm: Arm, first: int, stop: int) -> Arm:
    """An arm as if only these batches of its practice were its updates; the tokens are all that led to their end."""
    tokens = sum(line["num_written"] for line in arm.lines[:stop])
    spent = Spent(tokens, stop - first, arm.spent.seconds, arm.spent.cached_s)
    return replace(arm, lines=arm.lines[first:stop], spent=spent)
