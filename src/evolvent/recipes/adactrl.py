"""A reply begins with how hard its question is, and spends its tokens accordingly."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

from evolvent.credit.advantage import Standardized
from evolvent.curriculum import Uniform
from evolvent.effects import Arm, Observation, arm, compare_ends, compare_tasks
from evolvent.effects.arms import FIRST_SEED, NEVER
from evolvent.effects.replay import replay
from evolvent.envs.world import World
from evolvent.errors import BadInput
from evolvent.evals.measure import Suite, value_of
from evolvent.plans import Card, Improve
from evolvent.recipes import circle
from evolvent.records import Episode, Message, Origin, Private, Reference, Score, Task, Text, ToolCall, said
from evolvent.rewards import by_task
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import Answer, Demonstrate, Team
from evolvent.seeds import stream
from evolvent.tasks.procedural import Draft, chain, draw_of_split
from evolvent.training.losses import Clip, PolicyLoss, per_token, token_mean
from evolvent.training.optim import AdamW

CARD = Card(
    name="adactrl",
    title="Adaptive and Controllable Reasoning via Difficulty-Aware Budgeting",
    paper="arXiv:2505.18822",
    changes=("rollouts", "rewards"),
    claim="replies get shorter on easy questions alone, as accurate as before, and a forced tag sets the budget",
    verdict="not shown",
    note="What fails is the claim of equality: easy questions are answered better than before (0.94 to 0.98). "
    "Development seed 100. Demonstrations whose tag is a coin's toss: every question is called easy (0.97 of hard "
    "ones), tokens on easy ones 8.4 against 16.6 with the outcome alone, and 8.4 with the tag's reward but no length "
    "reward, so the tag alone shortens. Tags that fit in 0.75, 32 steps: 8.1 against 9.0, hard ones 0.47 right against "
    "0.66. In 0.65, 48 steps: 8.0 against 8.3, and hard questions that are called easy use the tool as well. "
    "As it stands (0.7, 24 steps) the outcome alone is no steady control on hard ones: 25.3 tokens and 0.31 right, "
    "12.2 and 0.02 on seed 101, against 25.5 and 0.38, 25.8 and 0.32. Easy questions that are called hard "
    "cost accuracy too: replies run on.",
)

EASY, HARD = "[Easy]", "[Hard]"
FAMILY = "glances"
EASIEST, HARDEST = 1, 2  # levels
NUM_OPERATIONS = 4  # of hard questions
NUM_HELD_OUT = 256  # of each level

LengthReward = Callable[[str, str, bool, float], float]


def tag_of(reply: str) -> str:
    """The tag that a reply begins with, in its first six characters; empty where there is none."""
    return reply[:6] if reply[:6] in (EASY, HARD) else ""


def opening(episode: Episode) -> str:
    """What the agent said first, tools or not."""
    said_first = (turn.message.text for turn in episode.traces[0].turns if turn.message.role == "assistant")
    return next(said_first, "")


def lengths(episodes: Sequence[Episode]) -> tuple[float, ...]:
    """Tokens that each attempt wrote."""
    return tuple(float(sum(sum(trace.mask) for trace in episode.traces)) for episode in episodes)


def short_if_right(tag: str, label: str, is_right: bool, share: float) -> float:
    """(1 + cos(pi l / L)) / 2 for a correct reply that says it is easy, else 0: the default reward manager."""
    return (1 + math.cos(math.pi * share)) / 2 if tag == EASY and is_right else 0.0


def by_label(tag: str, label: str, is_right: bool, share: float) -> float:
    """(1 + cos(pi l / L)) / 2 for easy, (1 - cos(pi l / L)) / 2 for hard, where the tag is right: the threaded one."""
    if tag != label:
        return 0.0
    return (1 + (1 if tag == EASY else -1) * math.cos(math.pi * share)) / 2


@dataclass(frozen=True, slots=True)
class Budgeted:
    """r_o + 0.5 r_l + 0.5 r_d: correct +1 or -1, the length reward, and 1 for the tag that the group's accuracy gives.

    A question is easy where more than `threshold` of the group is correct (10 of 16 is hard). A valid tag that is wrong
    earns 0, none -1. Lengths are shares of the longest attempt of the group.
    """

    length: LengthReward = short_if_right
    threshold: float = 0.625
    length_weight: float = 0.5
    tag_weight: float = 0.5

    def __call__(self, episodes: Sequence[Episode]) -> list[Score]:
        """One score per attempt at one task."""
        right = [score.value >= 1.0 for score in by_task(episodes)]
        written = lengths(episodes)
        label = EASY if fmean(right) > self.threshold else HARD
        longest = max(*written, 1)
        return [
            self._score(tag_of(opening(episode)), label, is_right, length / longest)
            for episode, is_right, length in zip(episodes, right, written, strict=True)
        ]

    def _score(self, tag: str, label: str, is_right: bool, share: float) -> Score:
        parts = {
            "outcome": 1.0 if is_right else -1.0,
            "length": self.length(tag, label, is_right, share),
            "difficulty": float(tag == label) if tag else -1.0,
        }
        value = parts["outcome"] + self.length_weight * parts["length"] + self.tag_weight * parts["difficulty"]
        told = {"says_easy": float(tag == EASY), "is_easy": float(label == EASY)}
        return Score(value, parts | told, f"{tag or 'no tag'} on a question that is {label}")


@dataclass(frozen=True, slots=True)
class Tagged:
    """A reply that begins with its tag, and goes on at once or by calls; what it begins with may be forced."""

    forced: str = ""
    max_turns: int = 4

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one episode; the tag is no part of the answer."""
        agent = team["agent"]
        reply = await agent.say(*task.prompt, given=self.forced)
        for _ in range(self.max_turns - 1):
            if not reply.calls:
                break
            results = [await world.call("agent", call) for call in reply.calls]
            reply = await agent.say(*(Message("tool", (result,)) for result in results))
        return Answer("" if reply.calls else reply.text[len(tag_of(reply.text)) :].strip())


@dataclass(frozen=True, slots=True)
class Shown:
    """Recites a tag, then the bare answer or the worked solution.

    A share `fitting` of tags says how hard the task is, and a share `faithful` of replies is as long as its tag says:
    both forms are shown on both levels, and what should follow from difficulty is left to practice.
    """

    fitting: float
    faithful: float

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one demonstration."""
        if task.private is None:
            raise BadInput("a task without its private part cannot be demonstrated", where=task.task_id)
        rng = stream(0, "tagged", task.task_id)
        tag = EASY if (task.level == EASIEST) == (rng.random() < self.fitting) else HARD
        is_long = (tag == HARD) == (rng.random() < self.faithful)
        first, *rest = task.private.solution if is_long else (said("assistant", task.private.answer),)
        tagged = replace(first, blocks=(Text(tag), *first.blocks))
        shown = replace(task, private=replace(task.private, solution=(tagged, *rest)))
        return await Demonstrate()(shown, team, world)


@dataclass(frozen=True, slots=True)
class Glances:
    """Sums whose answer is seen at a glance, as a product with 0 falls away (62*0+7?), and chains that need a tool."""

    seed: int = 0

    @property
    def families(self) -> tuple[str, ...]:
        """One family."""
        return (FAMILY,)

    def levels(self, family: str) -> tuple[int, ...]:
        """Easy and hard."""
        return (EASIEST, HARDEST)

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """None: they never run out."""
        return None

    def task(self, family: str, level: int, index: int, split: str = "train") -> Task:
        """Task `index` of a level, worked by one call."""
        rng = stream(self.seed, FAMILY, level, split, index)
        make = glance if level == EASIEST else partial(chain.make, level=NUM_OPERATIONS)
        draft = draw_of_split(lambda: make(rng), FAMILY, level, split)
        return Task(
            task_id=f"{FAMILY}-{level}-{split}-{self.seed}-{index}",
            family=FAMILY,
            level=level,
            prompt=(said("user", draft.question),),
            private=Private(draft.answer, solution=draft.solution),
            judge=Reference("evolvent.rewards:numeric"),
            origin=Origin(how="drawn"),
            split=split,
        )


def glance(rng: random.Random) -> Draft:
    """A digit and a product that is nothing, in either order."""
    digit, product = str(rng.randint(1, 9)), f"{rng.randint(1, 999)}*0"
    expression = "+".join(rng.sample((digit, product), 2))
    call = Message("assistant", (ToolCall("calc", {"expression": expression}),))
    return Draft(f"{expression}?", digit, solution=(call, said("assistant", digit)))


def build() -> Improve:
    """Sums for a glance and sums for the calculator; the cold start shows both with either tag, at either length."""
    return Improve(
        recipe="adactrl",
        source=Glances(),
        cold_start=replace(circle.COLD_START, num_steps=300, workflow=Shown(fitting=0.7, faithful=0.97)),
        curriculum=Uniform(2),
        workflow=Tagged(),
        reward=Budgeted(),
        truth=by_task,
        advantage=Standardized(ddof=1, eps=1e-6),
        loss=PolicyLoss(ratio=per_token, gain=Clip(0.20, 0.28), reduce=token_mean),
        optimizer=AdamW(lr=1e-3),
        num_steps=24,
        tasks_per_step=8,
        group_size=16,
        budgets=Budgets(turn_tokens=40, context_tokens=128, episode_tokens=64),
        num_threads=1,
    )


TOKENS = {"column": "num_tokens", "metric": "tokens"}


def effect(seed: int) -> list[Observation]:
    """With the rewards for tag and length against the outcome alone, and what forced tags do to the policy then."""
    suite = Suite(num_tasks=NUM_HELD_OUT, num_tasks_above=NUM_HELD_OUT, num_levels=2, num_tasks_during=16, best_of=1)
    plan = replace(build(), source=Glances(FIRST_SEED + seed), suite=suite, eval_every=NEVER)
    treated, control = arm(plan, seed), arm(replace(plan, reward=Budgeted(length_weight=0.0, tag_weight=0.0)), seed)
    return [
        compare_tasks(
            "replies to easy questions are shorter than with the outcome alone",
            "less",
            treated,
            control,
            levels=(EASIEST,),
            **TOKENS,
        ),
        compare_ends("replies to easy questions get shorter", "less", treated, levels=(EASIEST,), **TOKENS),
        compare_ends("replies to hard questions do not", "greater", treated, levels=(HARDEST,), **TOKENS),
        compare_ends(
            "easy questions are answered as well as before", "equal", treated, levels=(EASIEST,), tolerance=0.05
        ),
        compare_ends("hard questions are answered better than before", "greater", treated, levels=(HARDEST,)),
        tags_say_how_hard(treated),
        *forced_tags_set_the_budget(treated),
    ]


def tags_say_how_hard(arm: Arm) -> Observation:
    """How often questions of either level are called easy, where the policy may choose."""
    easy, hard = (
        tuple(float(tag_of(opening(e)) == EASY) for e in answered(arm, level)) for level in (EASIEST, HARDEST)
    )
    claim = "easy questions are called easy, and hard ones are not"
    return Observation(claim, "greater", "share", easy, hard, arm.spent, arm.spent)


def forced_tags_set_the_budget(arm: Arm) -> list[Observation]:
    """What replies cost, and whether they are right, where they must begin with the tag that does not fit."""
    odd, fitting = answered(arm, EASIEST, HARD), answered(arm, EASIEST, EASY)
    claim = "easy questions that are called hard get longer replies"
    longer = Observation(claim, "greater", "tokens", lengths(odd), lengths(fitting), arm.spent, arm.spent)
    odd, fitting = answered(arm, HARDEST, EASY), answered(arm, HARDEST, HARD)
    claim = "hard questions that are called easy get shorter replies"
    shorter = Observation(claim, "less", "tokens", lengths(odd), lengths(fitting), arm.spent, arm.spent)
    claim = "hard questions that are called easy are answered worse"
    right, wanted = (tuple(map(value_of, episodes)) for episodes in (odd, fitting))
    return [longer, shorter, Observation(claim, "less", "accuracy", right, wanted, arm.spent, arm.spent)]


def answered(arm: Arm, level: int, tag: str = "") -> list[Episode]:
    """Held-out questions of a level, answered behind a tag that is given, or chosen."""
    assert not isinstance(arm.plan.source, str)
    tasks = [arm.plan.source.task(FAMILY, level, i, "test") for i in range(NUM_HELD_OUT)]
    return replay(arm, tasks, 1, Tagged(tag))
