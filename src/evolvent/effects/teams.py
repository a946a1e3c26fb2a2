"""What a team is worth: beside its first round, beside votes of one alone, and where others' words are not its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evolvent.effects.arms import Arm
from evolvent.effects.observe import compare_ends
from evolvent.effects.replay import replay
from evolvent.evals.contrast import Kind, Observation
from evolvent.evals.measure import hold_out, value_of
from evolvent.records import Episode, Score, Task
from evolvent.rewards.by_task import lift
from evolvent.rewards.central import minutes_of
from evolvent.rollouts.selfplay import Alone
from evolvent.rollouts.team import Teamwork, plurality

Outcomes = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Readers:
    """Whom one looks at to see what talk is worth: the seats that have read others, how deep, and who has not."""

    seats: tuple[str, ...]
    depth: int
    lone: str
    num_turns: int


def compare_team(team: Arm, single: Arm, before: Arm, who: Readers) -> list[Observation]:
    """What is claimed of every team: that practice helps, that it beats a vote, and that this comes from talk.

    The vote is that of as many attempts by one seat as the team has turns, trained alone on as many completions.
    """
    late, early = talk_it_over(team), talk_it_over(before)
    votes = vote_alone(single, who.lone, who.num_turns)
    named = {"late": late, "early": early, "mixed": hear_others(team, late)}
    gains = {name: gain_of(team, played, who.seats, who.depth) for name, played in named.items()}
    gain, own = "right after reading less right before", (team, team)
    return [
        compare_ends("practice makes the team right more often", "greater", team),
        observe_tasks(
            "the team beats the vote of as many attempts of one trained alone",
            "accuracy",
            answers_of(late),
            votes,
            (team, single),
        ),
        observe_tasks("practice teaches to gain from what others say", gain, gains["late"], gains["early"], own),
        observe_tasks("told of other problems instead, it gains less", gain, gains["late"], gains["mixed"], own),
    ]


def held_out(arm: Arm) -> list[Task]:
    """The tasks that an arm was measured on."""
    assert not isinstance(arm.plan.source, str)
    return [task for cell in hold_out(arm.plan.suite, arm.plan.source).values() for task in cell]


def vote_alone(arm: Arm, seat: str, num_votes: int) -> Outcomes:
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


def right_of(arm: Arm, played: Sequence[Episode], seats: Sequence[str], depth: int) -> Outcomes:
    """Of each episode the share of turns of a depth, by these seats, whose words are the right answer."""
    found = []
    for episode in played:
        said = [x["words"] for x in minutes_of(episode) if x["depth"] == depth and x["seat"] in seats]
        right = are_right(arm, [replace(episode, answer=words) for words in said])
        found.append(sum(right) / len(right) if right else 0.0)
    return tuple(found)


def are_right(arm: Arm, episodes: Sequence[Episode]) -> Outcomes:
    """Whether each answer is right, by what the arm was measured by."""
    scores = [found for found in lift(arm.plan.measured_by)(episodes) if isinstance(found, Score)]
    return tuple(float(score.value >= 1.0) for score in scores)


def answers_of(played: Sequence[Episode]) -> Outcomes:
    """Whether each team was right."""
    return tuple(value_of(episode) for episode in played)


def gain_of(arm: Arm, played: Sequence[Episode], seats: Sequence[str], depth: int) -> Outcomes:
    """How much more often these seats are right at a depth than those who had read nobody."""
    first = right_of(arm, played, tuple(arm.plan.seats), 0)
    return tuple(late - early for late, early in zip(right_of(arm, played, seats, depth), first, strict=True))


def observe_tasks(
    claim: str, metric: str, treated: Outcomes, control: Outcomes, arms: tuple[Arm, Arm], kind: Kind = "greater"
) -> Observation:
    """What one seed says of two rows of outcomes on the same held-out tasks, and what the arms behind them cost."""
    return Observation(claim, kind, metric, treated, control, arms[0].spent, arms[1].spent)
