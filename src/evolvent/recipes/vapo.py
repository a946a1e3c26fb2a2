"""A critic that is fitted before the policy moves, and whose advantages reach as far as a trace is long."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from evolvent.credit.gae import GAE, Fixed, LengthAdaptive
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
    verdict="not measured",
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


def build() -> Improve:
    """The main job with a critic: groups of attempts as published, four updates a batch where the paper has sixteen.

    The first twelve batches of practice fit the critic alone, where the paper has 50.
    """
    critic = Critic(
        gae=GAE(policy=LengthAdaptive(alpha=0.05), critic=Fixed(1.0), gamma=1.0),
        loss=Terms(token_mean, (Value(1.0),)),
        optimizer=AdamW(lr=2e-3),  # twice the policy's, as published
        num_passes=4,
        pretrain_batches=12,
    )
    return replace(
        circle.build(),
        recipe="vapo",
        advantage=critic,
        loss=PolicyLoss(ratio=per_token, gain=Clip(0.20, 0.28), reduce=token_mean, terms=(ImitateCorrect(0.1),)),
        updates_per_batch=4,
    )
