"""Keeps the tasks that some policy solves often enough, or on which its runs agree: five tries, two of them."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from evolvent.errors import BadInput
from evolvent.records import Episode, Outcome, Task
from evolvent.rewards.by_task import by_task, judge_episodes
from evolvent.rewards.fields import plain
from evolvent.rewards.judge import Judge
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.synthesis.asking import read_json
from evolvent.synthesis.screening import Screened

RARELY, APART, UNMEASURED = "solved too rarely", "runs do not agree", "not measured"


@dataclass(frozen=True, slots=True)
class Gate:
    """How often a task is tried, and in how many tries it must be solved (or give the same answer) to be kept.

    A policy that solves it with probability p lets it pass with 1 - (1-p)^5 - 5p(1-p)^4.
    """

    num_attempts: int = 5  # Agent-World, arXiv:2604.18292
    min_solved: int = 2

    def __post_init__(self) -> None:
        if not 1 <= self.min_solved <= self.num_attempts:
            raise BadInput("no such gate", got=self, wanted="1 <= min_solved <= num_attempts")

    def keep_probability(self, solve_probability: float) -> float:
        """How likely a task is to pass that is solved with this probability."""
        p, num = solve_probability, self.num_attempts
        return 1 - math.fsum(math.comb(num, k) * p**k * (1 - p) ** (num - k) for k in range(self.min_solved))


TWO_OF_FIVE = Gate()


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt: whether it was solved, and what answer and state it came to (empty where to none)."""

    sample: int
    is_solved: bool
    form: str


@dataclass(frozen=True, slots=True)
class Tally:
    """What is known of the attempts at one task; those that something outside the agent broke are not in it."""

    task_id: str
    tries: tuple[Try, ...] = ()

    @property
    def num_solved(self) -> int:
        """In how many tries it was solved."""
        return sum(one.is_solved for one in self.tries)

    @property
    def num_agreeing(self) -> int:
        """How many tries came to the most frequent end."""
        return max(Counter(one.form for one in self.tries if one.form).values(), default=0)


def tally(
    tasks: Sequence[Task],
    stage: Stage,
    *,
    gate: Gate = TWO_OF_FIVE,
    judge: Judge = by_task,
    known: Mapping[str, Tally] | None = None,
    num_at_once: int = 64,
) -> Iterator[Tally]:
    """Plays what `known` lacks, and gives the whole tally of every task as soon as its batch is done.

    Attempt i of a task is the same in whatever batch, so a count that was stopped and goes on ends with the same tries.
    """
    told = known or {}
    for start in range(0, len(tasks), num_at_once):
        batch = tasks[start : start + num_at_once]
        have = {task.task_id: told.get(task.task_id, Tally(task.task_id)) for task in batch}
        attempts = [
            Attempt(task, sample)
            for task in batch
            for sample in range(gate.num_attempts)
            if sample not in {one.sample for one in have[task.task_id].tries}
        ]
        for episode in judge_episodes(judge, play(attempts, stage)):
            if episode.outcome in (Outcome.OK, Outcome.AGENT_FAILED):
                before = have[episode.task.task_id]
                tries = (*before.tries, Try(episode.sample, is_solved(episode), form_of(episode)))
                have[before.task_id] = Tally(before.task_id, tuple(sorted(tries, key=lambda one: one.sample)))
        yield from have.values()


def keep_solvable(tasks: Iterable[Task], tallies: Mapping[str, Tally], gate: Gate = TWO_OF_FIVE) -> Screened:
    """The tasks that were solved often enough; the others by reason."""
    return _screened(tasks, tallies, gate, {name: one.num_solved for name, one in tallies.items()}, RARELY)


def keep_agreed(tasks: Iterable[Task], tallies: Mapping[str, Tally], gate: Gate = TWO_OF_FIVE) -> Screened:
    """The tasks on which enough runs agree with each other, whatever the stored answer says."""
    return _screened(tasks, tallies, gate, {name: one.num_agreeing for name, one in tallies.items()}, APART)


def is_solved(episode: Episode) -> bool:
    """Whether a judged episode passed: by its component of that name, else by the full score."""
    scores = [trace.score for trace in episode.traces if trace.score is not None]
    return bool(scores) and all(score.components.get("passed", score.value) >= 1.0 for score in scores)


def form_of(episode: Episode) -> str:
    """What an episode came to, equal for equal ends: its answer, however it is written, and the state it left."""
    if not episode.answer.strip():
        return ""
    found = read_json(episode.answer)
    answer = plain(episode.answer) if found is None else json.dumps(found, sort_keys=True).casefold()
    return f"{answer} | {episode.info.get('state', '')}"


def _screened(
    tasks: Iterable[Task], tallies: Mapping[str, Tally], gate: Gate, counts: Mapping[str, int], reason: str
) -> Screened:
    kept: list[Task] = []
    dropped: dict[str, list[str]] = {}
    for task in tasks:
        num_tries = len(tallies[task.task_id].tries) if task.task_id in tallies else 0
        if counts.get(task.task_id, 0) >= gate.min_solved:
            kept.append(task)
        else:
            why = reason if num_tries >= gate.num_attempts else UNMEASURED
            dropped.setdefault(why, []).append(task.task_id)
    return Screened(tuple(kept), {why: tuple(ids) for why, ids in dropped.items()})
