"""Turns stored episodes and a newer judge into rescored episodes and a table of what changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evolvent.records import Episode, Outcome, Trace
from evolvent.rewards.by_task import judge_episodes
from evolvent.rewards.judge import Judge


@dataclass(frozen=True, slots=True)
class Change:
    """One trace whose judgement changed: values are None where there is no score (the judge broke)."""

    episode_id: str
    task_id: str
    seat: str
    old: float | None
    new: float | None
    why: str


def rescore(judge: Judge, episodes: Sequence[Episode]) -> tuple[list[Episode], list[Change]]:
    """The episodes judged anew, and what changed; those whose infrastructure failed stay as they are.

    The tasks must have their private part (runs keep it apart from the episodes).
    """
    rescored = judge_episodes(judge, [_unjudged(episode) for episode in episodes])
    changes = [
        Change(after.episode_id, after.task.task_id, new.seat, value(old), value(new), _why(new))
        for before, after in zip(episodes, rescored, strict=True)
        for old, new in zip(before.traces, after.traces, strict=True)
        if value(old) != value(new)
    ]
    return rescored, changes


def value(trace: Trace) -> float | None:
    """The value of a trace's score, None where it has none."""
    return None if trace.score is None else trace.score.value


def _unjudged(episode: Episode) -> Episode:
    """As it was before judging: a judge that broke then is no reason not to try again."""
    if episode.outcome is not Outcome.VERIFIER_FAILED:
        return episode
    traces = (
        replace(trace, outcome=Outcome.OK, fault=None) if trace.outcome is Outcome.VERIFIER_FAILED else trace
        for trace in episode.traces
    )
    return replace(episode, traces=tuple(traces))


def _why(trace: Trace) -> str:
    if trace.score is not None:
        return trace.score.why
    return trace.fault.why if trace.fault is not None else ""
