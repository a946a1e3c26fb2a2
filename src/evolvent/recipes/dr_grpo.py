"""GRPO done right: neither the length of an attempt nor the deviation of its group may scale its gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from evolvent.credit.advantage import Centred
from evolvent.effects import Arm, Observation, arm, compare_tasks
from evolvent.envs import Toolbox, calc
from evolvent.envs.world import World
from evolvent.errors import BadInput, ToolError
from evolvent.plans import Card, Improve
from evolvent.recipes import circle
from evolvent.records import Message, Task, said
from evolvent.rollouts.workflows import Answer, Team
from evolvent.seeds import stream
from evolvent.training.losses import Clip, FixedLength, PolicyLoss, per_token, sequence_mean, token_mean

CARD = Card(
    name="dr_grpo",
    title="GRPO Done Right",
    paper="arXiv:2503.20783",
    changes=("credit", "training"),
    claim="dividing by a constant in place of the length stops wrong answers from growing, at equal accuracy",
    verdict="unstable",
    note="what fails is the accuracy: 0.11 and 0.09 lower on two of three seeds, 0.02 higher on the third. Earlier: "
    "0.43 against 0.44 (24 steps, seed 101) and against 0.47 (32 steps, seed 100)",
)


def build() -> Improve:
    """The main job with centred scores and a constant in place of each attempt's length; no penalty."""
    plan = circle.build()
    return replace(
        plan,
        recipe="dr_grpo",
        advantage=Centred(),
        loss=PolicyLoss(
            ratio=per_token, gain=Clip(0.2, 0.2), reduce=FixedLength(max_tokens=plan.budgets.episode_tokens)
        ),
    )


# ---------------------------------------------------------------- wrong answers that can grow


class Broken:
    """The calculator when it is out of order."""

    name: ClassVar[str] = "calc"

    def __call__(self, expression: str) -> str:
        """Compute nothing."""
        raise ToolError("out of order")


@dataclass(frozen=True, slots=True)
class Flaky:
    """A calculator that is out of order from the first call to the last in a share of the episodes."""

    broken_frac: float
    name: ClassVar[str] = "calc"

    def open(self, task: Task, seed: int) -> object:
        """The calculator of one episode."""
        return Broken() if stream(seed, "flaky").random() < self.broken_frac else calc


@dataclass(frozen=True, slots=True)
class Patient:
    """Recites a worked solution; while its call fails it calls again with chance `again_frac`, then gives up."""

    again_frac: float
    max_calls: int = 7

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one demonstration."""
        if task.private is None or len(task.private.solution) != 2:
            raise BadInput("only one call and an answer can be demonstrated with patience", where=task.task_id)
        call, answer = task.private.solution
        rng = stream(0, "patience", task.task_id)
        heard = task.prompt
        for number in range(1, self.max_calls + 1):
            team["agent"].recite(call, *heard)
            result = await world.call("agent", call.calls[0])
            heard = (Message("tool", (result,)),)
            if not result.is_error or rng.random() >= self.again_frac or number == self.max_calls:
                break
        reply = said("assistant", "?") if result.is_error else answer
        team["agent"].recite(reply, *heard)
        return Answer(reply.text)


def flaky(plan: Improve) -> Improve:
    """The plan in a world where half of all attempts are lost from their first call on, however long they go on."""
    short = circle.small()
    cold = replace(circle.COLD_START, num_steps=200, workflow=Patient(again_frac=0.5))
    return replace(
        plan,
        cold_start=cold,
        world=Toolbox((Flaky(broken_frac=0.5),)),
        num_steps=16,
        tasks_per_step=short.tasks_per_step,
        suite=short.suite,
    )


def effect(seed: int) -> list[Observation]:
    """A constant, then DAPO's number of all tokens, against the length of each attempt as the divisor."""
    plan = flaky(build())
    by_length = PolicyLoss(ratio=per_token, gain=Clip(0.2, 0.2), reduce=sequence_mean)
    by_tokens = PolicyLoss(ratio=per_token, gain=Clip(0.2, 0.2), reduce=token_mean)
    treated, control = arm(plan, seed), arm(replace(plan, loss=by_length), seed)
    dapo = arm(replace(plan, loss=by_tokens), seed)
    return [
        wrong_lengths("a constant divisor stops wrong answers from growing", treated, control),
        compare_tasks("at equal accuracy", "equal", treated, control, tolerance=0.1),
        wrong_lengths("so does a mean over all tokens", dapo, control),
    ]


def wrong_lengths(claim: str, treated: Arm, control: Arm) -> Observation:
    """The tokens that each arm writes where it is wrong in the end."""
    return Observation(
        claim=claim,
        kind="less",
        metric="tokens of a wrong attempt",
        treated=_wrong(treated),
        control=_wrong(control),
        spent=treated.spent,
        spent_control=control.spent,
        unit="wrong attempt",
        is_paired=False,
    )


def _wrong(arm: Arm) -> tuple[float, ...]:
    lengths = arm.outcomes("num_tokens")
    return tuple(lengths[task] for task, score in arm.outcomes().items() if score < 1)
