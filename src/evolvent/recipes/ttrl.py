"""Majority vote as reward: learn from unlabelled tasks by agreeing with yourself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from evolvent.credit.advantage import Standardized
from evolvent.credit.first import FirstOf
from evolvent.curriculum import Uniform
from evolvent.curriculum.draw import draw_tasks
from evolvent.effects import FIRST_LEVEL, Arm, Observation, arm, compare_ends, compare_tasks
from evolvent.effects.arms import FIRST_SEED, NEVER
from evolvent.effects.replay import replay
from evolvent.envs import Toolbox
from evolvent.evals.measure import value_of
from evolvent.models.spec import ModelSpec
from evolvent.plans import Card, Improve, cold_start
from evolvent.records import Episode, Task
from evolvent.rewards import Shuffled, by_task, judge_episodes
from evolvent.rewards.consensus import Consensus
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import single
from evolvent.tasks.copies import Copies
from evolvent.tasks.mislabelled import Mislabelled, Wrong, next_digit, other_digit
from evolvent.training.losses import Clip, Likelihood, PolicyLoss, per_token, sequence_mean, token_mean
from evolvent.training.optim import AdamW, Muon, Schedule

CARD = Card(
    name="ttrl",
    title="Test-Time Reinforcement Learning",
    paper="arXiv:2504.16084",
    changes=("rewards", "credit"),
    claim="accuracy passes the initial majority vote without a label where the truth is the plurality, and falls "
    "where a common error is",
    verdict="shown",
)

NUM_VOTES, NUM_TRAINED = 16, 8  # half of the votes are trained on, as published (64 and 32)
NUM_QUESTIONS = 512
SCATTERED, COMMON = 0.6, 0.8  # shares of wrong demonstrations: the truth is the most frequent answer, and is not
NUM_EARLY = 8  # steps before most labels are right


def build() -> Improve:
    """Numbers to be said again, taught by demonstrations most of which end wrong; practice sees no answer at all.

    `truth` measures, and nothing else looks at it: the curriculum is blind, and so is the reward.
    """
    return Improve(
        recipe="ttrl",
        source=taught(SCATTERED, other_digit),
        model=ModelSpec(depth=2),
        cold_start=cold_start(
            200,
            Muon(lr=0.02, rest=AdamW(lr=3e-3, schedule=Schedule(warmup_steps=20))),
            Likelihood(token_mean),
            levels=1,
            direct_frac=0.0,
            batch=64,
        ),
        curriculum=Uniform(1),
        workflow=single,
        world=Toolbox(()),
        reward=Consensus(),
        truth=by_task,
        advantage=FirstOf(NUM_TRAINED, Standardized(ddof=1, eps=1e-6)),
        loss=PolicyLoss(ratio=per_token, gain=Clip(0.2, 0.2), reduce=sequence_mean),
        optimizer=AdamW(lr=3e-4),
        num_steps=40,
        tasks_per_step=32,
        group_size=NUM_VOTES,
        budgets=Budgets(turn_tokens=8, context_tokens=64, episode_tokens=8),
        num_threads=1,
        unproven=True,  # most demonstrations are wrong, and nobody is to notice
    )


def taught(share: float, wrong: Wrong, seed: int = 0) -> Mislabelled:
    """Numbers, a share of which is shown with a wrong last digit."""
    return Mislabelled(Copies(seed=seed), share, wrong)


def effect(seed: int) -> list[Observation]:
    """The vote as reward where errors scatter and where they are all the same; rewards shuffled as the control."""
    plan = replace(build(), suite=FIRST_LEVEL, eval_every=NEVER)
    plan = replace(plan, source=taught(SCATTERED, other_digit, FIRST_SEED + seed))
    scattered, shuffled = arm(plan, seed), arm(replace(plan, reward=Shuffled(Consensus())), seed)
    common = arm(replace(plan, source=taught(COMMON, next_digit, FIRST_SEED + seed)), seed)
    return [
        passes_the_first_vote(scattered, seed),
        compare_tasks(
            "where errors scatter, the vote teaches and shuffled votes do not", "greater", scattered, shuffled
        ),
        compare_ends("where errors scatter, held-out questions gain too", "greater", scattered),
        compare_ends("where one wrong answer is the most frequent, accuracy falls", "less", common),
        rewards_are_right_more_often_than_labels(scattered),
    ]


def passes_the_first_vote(after: Arm, seed: int) -> Observation:
    """Accuracy of single attempts after practice, on its own questions, against the vote on them before it."""
    questions = practised(after.plan)[:NUM_QUESTIONS]
    before = arm(replace(after.plan, num_steps=0), seed)
    voted = in_groups(judge_episodes(Consensus(), replay(before, questions, NUM_VOTES)), NUM_VOTES)
    tried = in_groups(replay(after, questions, NUM_VOTES), NUM_VOTES)
    return Observation(
        claim="single attempts pass the initial majority vote on the same unlabelled questions",
        kind="greater",
        metric="accuracy",
        treated=tuple(fmean(value_of(episode) for episode in group) for group in tried),
        control=tuple(component(group[0], "label_right") for group in voted),
        spent=after.spent,
        spent_control=after.spent,
    )


def rewards_are_right_more_often_than_labels(arm: Arm) -> Observation:
    """Whoever differs from a wrong label is mostly wrong as well, and earns the 0 that is due."""
    early = arm.lines[:NUM_EARLY]
    return Observation(
        claim="rewards are right more often than the labels that they come from",
        kind="greater",
        metric="share",
        treated=tuple(float(line["reward/reward_right"]) for line in early),
        control=tuple(float(line["reward/label_right"]) for line in early),
        spent=arm.spent,
        spent_control=arm.spent,
        unit="step",
    )


def practised(plan: Improve) -> list[Task]:
    """The questions that practice saw, each once, in order."""
    assert not isinstance(plan.source, str)
    curriculum = plan.curriculum.begin(plan.source)
    steps = range(plan.num_cold + 1, plan.num_cold + plan.num_steps + 1)
    drawn = [
        draw_tasks(curriculum, plan.source, num=plan.tasks_per_step, seed=plan.seed, step=step, held_out=())
        for step in steps
    ]
    return list({task.question: task for tasks in drawn for task in tasks}.values())


def in_groups(episodes: Sequence[Episode], size: int) -> list[Sequence[Episode]]:
    """Attempts at one task together."""
    return [episodes[i : i + size] for i in range(0, len(episodes), size)]


def component(episode: Episode, name: str) -> float:
    """What an attempt was judged by, before it became a value."""
    score = episode.traces[0].score
    assert score is not None
    return score.components[name]
