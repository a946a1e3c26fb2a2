"""What a team is worth: beside its first round, beside votes of one alone, and where others' words are not its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from evolvent.effects.arms import Arm
from evolvent.effects.replay import replay
from evolvent.evals.measure import hold_out, value_of
from evolvent.records import Episode, Score, Task
from evolvent.rewards.by_task import lift
from evolvent.rewards.central import minutes_of
from evolvent.rollouts.selfplay import Alone
from evolvent.rollouts.team import Teamwork, plurality


def held_out(arm: Arm) -> list[Task]:
    """The tasks that an arm was measured on."""
    assert not isinstance(arm.plan.source, str)
    return [task for cell in hold_out(arm.plan.suite, arm.plan.source).values() for task in cell]


def vote_alone(arm: Arm, seat: str, num_votes: int) -> tuple[float, ...]:
    """Of each held-out task, whether the vote of `num_votes` attempts by one seat alone is right."""
    episodes = replay(arm, held_out(arm), num_votes, workflow=Alone(seat))
    groups = [episodes[i : i + num_votes] for i in range(0, len(episodes), num_votes)]
    voted = [replace(group[0], answer=plurality([e.answer for e in group])) for group in groups]
    return are_right(arm, voted)


def talk_it_over(arm: Arm) -> list[Episode]:
    """The team at every held-out task."""
    return replay(arm, held_out(arm))


def hear_others(arm: Arm, played: Sequence[Episode]) -> list[Episode]:
    """The team at the same tasks once more, each seat told what was said about the next problem instead."""
    work = arm.plan.workflow
    assert isinstance(work, Teamwork)
    said = [tuple(str(line["words"]) for line in minutes_of(episode)) for episode in played]
    others = {e.task.task_id: said[(i + 1) % len(said)] for i, e in enumerate(played)}
    return replay(arm, [e.task for e in played], workflow=replace(work, instead=others))


def right_of(arm: Arm, played: Sequence[Episode], seats: Sequence[str], depth: int) -> tuple[float, ...]:
    """Of each episode the share of turns of a depth, by these seats, whose words are the right answer."""
    found = []
    for episode in played:
        said = [x["words"] for x in minutes_of(episode) if x["depth"] == depth and x["seat"] in seats]
        right = are_right(arm, [replace(episode, answer=words) for words in said])
        found.append(sum(right) / len(right) if right else 0.0)
    return tuple(found)


def are_right(arm: Arm, episodes: Sequence[Episode]) -> tuple[float, ...]:
    """Whether each answer is right, by what the arm was measured by."""
    scores = [found for found in lift(arm.plan.measured_by)(episodes) if isinstance(found, Score)]
    return tuple(float(score.value >= 1.0) for score in scores)


def answers_of(played: Sequence[Episode]) -> tuple[float, ...]:
    """Whether each team was right."""
    return tuple(value_of(episode) for episode in played)
