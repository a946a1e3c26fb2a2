"""A reply begins with how hard its question is, and spends its tokens accordingly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from evolvent.credit.advantage import Standardized
from evolvent.curriculum import Uniform
from evolvent.effects import Arm, Observation, arm, compare_tasks
from evolvent.effects.arms import FIRST_SEED, NEVER
from evolvent.effects.replay import replay
from evolvent.envs import Toolbox
from evolvent.envs.world import World
from evolvent.errors import BadInput
from evolvent.evals.measure import Suite
from evolvent.models.spec import ModelSpec
from evolvent.plans import Card, Improve, cold_start
from evolvent.records import Episode, Score, Task, said
from evolvent.rewards import by_task
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import Answer, Team, single
from evolvent.seeds import stream
from evolvent.tasks.procedural import Procedural
from evolvent.training.losses import Clip, Likelihood, PolicyLoss, per_token, token_mean
from evolvent.training.optim import AdamW, Muon, Schedule

CARD = Card(
    name="adactrl",
    title="Adaptive and Controllable Reasoning via Difficulty-Aware Budgeting",
    paper="arXiv:2505.18822",
    changes=("rollouts", "rewards"),
    claim="replies get shorter on easy questions alone, as accurate as before, and a forced tag sets the budget",
    note="The effect has not been run: with 300 steps of cold start and two layers the policy does not learn to follow "
    "arrows behind a tag (accuracy 0.21 and 0.24 on one step in two forms of the demonstrations, development seed 100; "
    "one in five is chance), so no question counts as easy and no reply earns the length reward.",
)

EASY, HARD = "[Easy]", "[Hard]"
EASIEST, HARDEST = 1, 3  # levels

LengthReward = Callable[[str, str, bool, float], float]


def tag_of(reply: str) -> str:
    """The tag that a reply begins with, in its first six characters; empty where there is none."""
    return reply[:6] if reply[:6] in (EASY, HARD) else ""


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
        lengths = [sum(sum(trace.mask) for trace in episode.traces) for episode in episodes]
        label = EASY if fmean(right) > self.threshold else HARD
        longest = max(*lengths, 1)
        return [
            self._score(episode.answer, label, is_right, length / longest)
            for episode, is_right, length in zip(episodes, right, lengths, strict=True)
        ]

    def _score(self, reply: str, label: str, is_right: bool, share: float) -> Score:
        tag = tag_of(reply)
        parts = {
            "outcome": 1.0 if is_right else -1.0,
            "length": self.length(tag, label, is_right, share),
            "difficulty": float(tag == label) if tag else -1.0,
        }
        value = parts["outcome"] + self.length_weight * parts["length"] + self.tag_weight * parts["difficulty"]
        told = {"says_easy": float(tag == EASY), "is_easy": float(label == EASY)}
        return Score(value, parts | told, f"{tag or 'no tag'} on a question that is {label}")


@dataclass(frozen=True, slots=True)
class Forced:
    """Controlled mode: the reply is made to begin with a tag, and the policy goes on from it."""

    tag: str

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one episode."""
        reply = await team["agent"].say(*task.prompt, given=self.tag)
        return Answer(reply.text.strip())


@dataclass(frozen=True, slots=True)
class Tagged:
    """Recites a tagged reply: where it starts and ends, or all the way, once around the circle first.

    Tags are drawn whatever the task, and a share `faithful` of replies is as long as its tag says: what should follow
    from difficulty is left to practice.
    """

    faithful: float

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one demonstration."""
        if task.private is None:
            raise BadInput("a task without its private part cannot be demonstrated", where=task.task_id)
        rng = stream(0, "tagged", task.task_id)
        tag = rng.choice((EASY, HARD))
        is_long = (tag == HARD) == (rng.random() < self.faithful)
        around = task.private.data["around"]
        lap = (around + around)[: len(around) + task.level + 1]
        words = lap if is_long else around[0] + task.private.answer
        return Answer(team["agent"].recite(said("assistant", f"{tag} {words}"), *task.prompt).text)


def build() -> Improve:
    """Arrows to follow for one step and for three; both are taught with either tag, at either length."""
    return Improve(
        recipe="adactrl",
        source=arrows(),
        model=ModelSpec(depth=2),
        cold_start=replace(
            cold_start(
                300,
                Muon(lr=0.02, rest=AdamW(lr=3e-3, schedule=Schedule(warmup_steps=20))),
                Likelihood(token_mean),
                levels=2,
                direct_frac=0.0,
                batch=64,
            ),
            workflow=Tagged(0.8),
        ),
        curriculum=Uniform(2),
        workflow=single,
        world=Toolbox(()),
        reward=Budgeted(),
        truth=by_task,
        advantage=Standardized(ddof=1, eps=1e-6),
        loss=PolicyLoss(ratio=per_token, gain=Clip(0.20, 0.28), reduce=token_mean),
        optimizer=AdamW(lr=1e-3),
        num_steps=40,
        tasks_per_step=16,
        group_size=16,
        budgets=Budgets(turn_tokens=24, context_tokens=64, episode_tokens=24),
        num_threads=1,
    )


def arrows(seed: int = 0) -> Procedural:
    """Questions that are seen at a glance, and questions that are not."""
    return Procedural(("follow",), seed, only_levels=(EASIEST, HARDEST))


def effect(seed: int) -> list[Observation]:
    """With the length reward against without it, and what forced tags do to the policy that had it."""
    suite = Suite(num_tasks=512, num_tasks_above=512, num_levels=2, num_tasks_during=64, best_of=1)
    plan = replace(build(), source=arrows(FIRST_SEED + seed), suite=suite, eval_every=NEVER)
    treated, control = arm(plan, seed), arm(replace(plan, reward=Budgeted(length_weight=0.0)), seed)
    easy, hard = (EASIEST,), (HARDEST,)
    length = {"column": "num_tokens", "metric": "tokens"}
    return [
        compare_tasks("replies to easy questions get shorter", "less", treated, control, levels=easy, **length),
        compare_tasks(
            "replies to hard questions stay as long", "equal", treated, control, levels=hard, tolerance=1.5, **length
        ),
        compare_tasks("as accurate on easy questions", "equal", treated, control, levels=easy, tolerance=0.05),
        compare_tasks("as accurate on hard questions", "equal", treated, control, levels=hard, tolerance=0.1),
        forced_tags_set_the_budget(treated),
    ]


def forced_tags_set_the_budget(arm: Arm, num: int = 512) -> Observation:
    """Tokens on easy questions where replies must begin as hard ones, against where they must begin as easy ones."""
    assert not isinstance(arm.plan.source, str)
    tasks = [arm.plan.source.task("follow", EASIEST, i, "test") for i in range(num)]
    hard, easy = (
        tuple(float(sum(sum(t.mask) for t in e.traces)) for e in replay(arm, tasks, 1, Forced(tag)))
        for tag in (HARD, EASY)
    )
    return Observation(
        claim="easy questions that are called hard get longer replies",
        kind="greater",
        metric="tokens",
        treated=hard,
        control=easy,
        spent=arm.spent,
        spent_control=arm.spent,
    )
