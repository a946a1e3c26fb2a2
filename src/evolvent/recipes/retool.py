"""Code in the middle of a thought: an interpreter answers while the agent writes, and outcomes teach when to ask it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from evolvent.credit.advantage import imitate_all
from evolvent.credit.gae import GAE, Fixed
from evolvent.curriculum import Uniform
from evolvent.effects import Arm, Observation, arm, compare_tasks
from evolvent.effects.replay import replay
from evolvent.envs import Interpreter, Toolbox, calc
from evolvent.envs.world import World
from evolvent.evals.measure import Suite, hold_out, value_of
from evolvent.plans import Card, Improve, Phase
from evolvent.records import Message, Private, Task, Text, ToolCall, said
from evolvent.rewards import Checked, numeric
from evolvent.rewards.signed import Signed
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import Answer, Demonstrate, Team, single, tool_loop
from evolvent.seeds import stream
from evolvent.tasks.tallies import Tallies
from evolvent.training.critic import Critic
from evolvent.training.losses import Clip, Likelihood, PolicyLoss, per_token, token_mean
from evolvent.training.optim import AdamW, Muon, Schedule
from evolvent.training.terms import Terms, Value

CARD = Card(
    name="retool",
    title="ReTool: reinforcement learning for strategic tool use",
    paper="arXiv:2504.11536",
    changes=("envs", "rollouts", "rewards"),
    claim="after as many updates, an agent that may run code as it reasons is more accurate than one that only writes",
    verdict="shown",
    note="Not claimed: that training on the interpreter's tokens hurts (after 40 updates of one development seed, with "
    "a group baseline, accuracy was 0.947 with them and 0.963 without), nor that answers get shorter (12 tokens in "
    "every arm).",
)

PYTHON = Interpreter()
LEVELS = 2  # that are practised
COMPUTATION = re.compile(r"([-(\d][-+*/%().\d ]*?[-+*/%][-+*/%().\d ]*?)\s*=\s*-?\d+(?:\.\d+)?")


def in_words(private: Private) -> str:
    """A worked solution as text alone, what it calls for written out with its value: 47*8=376;376-123=253."""
    called = [str(value) for m in private.solution for c in m.calls for value in (c.arguments or {}).values()]
    if called:
        return ";".join(f"{expression}={calc(expression)}" for expression in called)
    return private.solution[-1].text if private.solution else private.answer


def in_code(words: str, answer: str) -> tuple[Message, ...]:
    """The same with each computation handed to the interpreter, whose answer takes the place of the value."""
    messages, at = [], 0
    for found in COMPUTATION.finditer(words):
        thought = words[at : found.start()].strip(" ;,\n")
        call = ToolCall(PYTHON.name, {"code": found[1]})
        messages.append(Message("assistant", (Text(thought), call) if thought else (call,)))
        at = found.end()
    return (*messages, said("assistant", answer))


@dataclass(frozen=True, slots=True)
class Traces:
    """Recite worked solutions as text, a share `code_frac` of them with the interpreter in it."""

    code_frac: float

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one demonstration; what the interpreter says is its own."""
        shown = task
        if task.private is not None:
            words, answer = in_words(task.private), task.private.answer
            has_code = stream(0, "code", task.task_id).random() < self.code_frac
            solution = in_code(words, answer) if has_code else (said("assistant", words),)
            shown = replace(task, private=replace(task.private, solution=solution))
        return await Demonstrate()(shown, team, world)


def build() -> Improve:
    """Lines that each need the one before: the cold start shows half of them worked in text, half with code.

    PPO without a KL penalty, four updates a batch, and a critic with gamma = lambda = 1 that is fitted alone at first.
    """
    cold = Phase(
        num_steps=300,
        tasks_per_step=32,
        group_size=1,
        workflow=Traces(code_frac=0.5),
        curriculum=Uniform(LEVELS),
        advantage=imitate_all,
        loss=Likelihood(token_mean),
        optimizer=Muon(lr=0.02, rest=AdamW(lr=3e-3, schedule=Schedule(warmup_steps=20))),
    )
    critic = Critic(
        gae=GAE(policy=Fixed(1.0), critic=Fixed(1.0), gamma=1.0),
        loss=Terms(token_mean, (Value(1.0),)),
        optimizer=AdamW(lr=6e-4),  # twice the policy's, as published
        pretrain_batches=4,
        whitens=True,
    )
    return Improve(
        recipe="retool",
        source=Tallies(),
        world=Toolbox((PYTHON,)),
        cold_start=cold,
        curriculum=Uniform(LEVELS),
        workflow=tool_loop,
        reward=Signed(Checked(numeric)),
        advantage=critic,
        loss=PolicyLoss(ratio=per_token, gain=Clip(0.20, 0.28), reduce=token_mean),
        optimizer=AdamW(lr=3e-4),  # at 1e-3 practice in text stands still, or unlearns
        num_steps=48,
        tasks_per_step=128,
        group_size=1,
        updates_per_batch=4,
        budgets=Budgets(turn_tokens=64, context_tokens=256, episode_tokens=96),
        num_threads=1,
    )


def in_text(plan: Improve) -> Improve:
    """The control: nothing to call, and a cold start in which every trace is text.

    So it has seen twice as many traces of the kind that it writes, and no call that it cannot make.
    """
    cold = plan.cold_start and replace(plan.cold_start, workflow=Traces(code_frac=0.0))
    return replace(plan, world=Toolbox(()), workflow=single, cold_start=cold)


def python(code: str) -> str:
    """An interpreter that says 0 to everything."""
    return "0"


def unheard(trained: Arm) -> tuple[float, ...]:
    """Whether a trained agent is right on each held-out task where the interpreter only says 0."""
    plan = trained.plan
    assert not isinstance(plan.source, str)
    tasks = [task for cell in hold_out(plan.suite, plan.source).values() for task in cell]
    return tuple(value_of(e) for e in replay(replace(trained, plan=replace(plan, world=Toolbox((python,)))), tasks))


def effect(seed: int) -> list[Observation]:
    """Practice with an interpreter against practice in text: the same tasks, as many demonstrations and updates."""
    suite = Suite(num_tasks=256, num_tasks_above=256, num_tasks_during=16, num_levels=LEVELS, best_of=1)
    plan = replace(build(), suite=suite, eval_every=build().num_steps)
    treated, control = arm(plan, seed), arm(in_text(plan), seed)
    before = tuple(treated.outcomes("used_tool", report="before").values())
    return [
        compare_tasks("with an interpreter practice gets more accurate", "greater", treated, control),
        within("practice teaches to run code", "answers with code, after and before", treated, "used_tool", before),
        within("what the interpreter says is read", "accuracy", treated, "scores", unheard(treated)),
    ]


def within(claim: str, metric: str, trained: Arm, column: str, control: tuple[float, ...]) -> Observation:
    """A claim about one arm: a column of its last report is greater than what it was, or would be."""
    outcomes, spent = tuple(trained.outcomes(column).values()), trained.spent
    return Observation(claim, "greater", metric, outcomes, control, spent, spent)
