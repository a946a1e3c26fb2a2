"""A step of training in numbers: what was earned, how it was played, and what the update saw."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evolvent.credit.batch import Batch
from evolvent.records import Episode, Trace


@dataclass(frozen=True, slots=True)
class Described:
    """One step: the line for the metrics file, true scores by cell, credit by trace, and tokens written."""

    numbers: dict[str, Any]
    scores: dict[tuple[str, int], list[float]]
    credit: dict[tuple[str, str], list[float]]
    num_written: int


def describe(
    episodes: Sequence[Episode],
    batches: Mapping[str, Batch],
    updates: Mapping[str, Mapping[str, float]],
    true: Sequence[Episode] | None = None,
) -> Described:
    """Count a step; with several policies, the numbers of an update are prefixed by the policy's name.

    `true` are the same episodes with the scores that count as truth, where they are not those trained on.
    """
    judged = [e for e in episodes if e.outcome.carries_reward]
    traces = [t for e in judged for t in e.traces if t.score is not None]
    values = [t.score.value for t in traces if t.score is not None]
    scores: dict[tuple[str, int], list[float]] = {}
    for episode in (e for e in (episodes if true is None else true) if e.outcome.carries_reward):
        scores.setdefault((episode.task.family, episode.task.level), []).extend(
            t.score.value for t in episode.traces if t.score is not None
        )
    written = [sum(t.mask) for t in traces]
    numbers: dict[str, Any] = {
        "num_episodes": len(episodes),
        "faults": len(episodes) - len(judged),
        "reward_mean": _mean(values),
        **_components(traces),
        "accuracy": _mean([float(v >= 1.0) for found in scores.values() for v in found]),
        "tool_use": _mean([float(e.used_tool) for e in judged]),
        "bad_call_share": _bad_calls(judged),
        "length_mean": _mean(written),
        "num_written": sum(written),
        "truncated_share": _mean([float(bool(t.truncation)) for t in traces]),
        "levels": dict(sorted(Counter(f"{f}:{n}" for (f, n), v in scores.items() for _ in v).items())),
    }
    for name, batch in batches.items():
        before = "" if len(batches) == 1 else f"{name}/"
        numbers[f"{before}signal_share"] = batch.signal_share
        numbers[f"{before}dead_groups"] = batch.num_dead_groups
        numbers[f"{before}num_untrainable"] = batch.num_untrainable
        numbers[f"{before}num_unscored"] = batch.num_unscored
        numbers |= {f"{before}{key}": value for key, value in updates[name].items()}
    weights = {key: weight for batch in batches.values() for key, weight in batch.credits.items()}
    credit = {
        (e.episode_id, t.seat): [weights.get((e.episode_id, t.seat), 0.0) * m for m in t.mask]
        for e in episodes
        for t in e.traces
    }
    return Described(numbers, scores, credit, sum(written))


def _components(traces: Sequence[Trace]) -> dict[str, float]:
    """Means of what rewards were mixed from, each over the traces that have it; a lone part says nothing new."""
    found: dict[str, list[float]] = {}
    for trace in traces:
        parts = trace.score.components if trace.score is not None else {}
        for name, value in parts.items() if len(parts) > 1 else ():
            found.setdefault(name, []).append(value)
    return {f"reward/{name}": _mean(found[name]) for name in sorted(found)}


def _bad_calls(episodes: Sequence[Episode]) -> float:
    """The share of tool calls that could not be read."""
    calls = [c for e in episodes for t in e.traces for c in t.calls]
    return _mean([float(c.arguments is None) for c in calls])


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else 0.0
