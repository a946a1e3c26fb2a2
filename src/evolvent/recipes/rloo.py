"""Leave-one-out baseline: each attempt is compared with the mean of the others, and a whole answer is one action."""

from __future__ import annotations

from dataclasses import replace

from evolvent.credit.advantage import LeaveOneOut
from evolvent.plans import Card, Improve
from evolvent.recipes import circle
from evolvent.training.gains import plain
from evolvent.training.losses import PolicyLoss, per_token, sequence_sum

CARD = Card(
    name="rloo",
    title="REINFORCE Leave-One-Out",
    paper="arXiv:2402.14740",
    changes=("credit", "training"),
    claim="plain REINFORCE with an unbiased baseline learns as well as a clipped ratio with a standardised one",
    verdict="not measured",
)


def build() -> Improve:
    """The main job with REINFORCE: no clip, no deviation, the sum over an answer's tokens.

    The paper takes a KL penalty off the reward for the sake of a learned reward model; a verifier needs none.
    """
    return replace(
        circle.build(),
        recipe="rloo",
        advantage=LeaveOneOut(),
        loss=PolicyLoss(ratio=per_token, gain=plain, reduce=sequence_sum),
    )
