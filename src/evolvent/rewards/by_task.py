"""Turns played episodes into judged ones: each task's own check, and what happens when a judge breaks."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from evolvent.errors import BadInput, VerifierError
from evolvent.records import Episode, Fault, Outcome, Score, Trace, role_of
from evolvent.rewards.judge import Check, Judge, Judgement


@dataclass(frozen=True)
class ByTask:
    """Judges each episode by the check that its own task names."""

    @property
    def judges_alone(self) -> bool:
        """Each score depends on its own episode alone."""
        return True

    def __call__(self, episodes: Sequence[Episode]) -> list[Score]:
        """One score per episode; one that carries no reward is not judged."""
        return [_check(episode, episode.task.judge.load) for episode in episodes]


by_task = ByTask()


@dataclass(frozen=True)
class Checked:
    """One check for every task, as a judge: `Checked(exact)`, `Checked(numeric, {"tolerance": 0.01})`."""

    check: Callable[..., Score]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def judges_alone(self) -> bool:
        """Each score depends on its own episode alone."""
        return True

    def __call__(self, episodes: Sequence[Episode]) -> list[Score]:
        """One score per episode; one that carries no reward is not judged."""
        return [_check(episode, lambda: functools.partial(self.check, **self.arguments)) for episode in episodes]


def lift(thing: Check | Judge) -> Judge:
    """A judge from what may stand in a reward slot: a judge as it is, a check of (task, answer) lifted.

    A judge that remembers comes to life, with no memory yet.
    """
    if hasattr(thing, "begin"):
        return thing.begin()  # type: ignore[no-any-return]
    needed = [
        p
        for p in inspect.signature(thing).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if len(needed) == 1:
        return thing  # type: ignore[return-value]
    if len(needed) == 2:
        return Checked(thing)  # type: ignore[arg-type]
    raise BadInput(
        "this cannot stand in a reward slot",
        got=f"{getattr(thing, '__name__', thing)} with {len(needed)} needed arguments",
        wanted="a check of (task, answer), or a judge of (episodes)",
    )


def judge_episodes(judge: Judge, episodes: Sequence[Episode]) -> list[Episode]:
    """Every trace with the score of its seat or role; where the judge broke, outcome "verifier failed" and no score.

    A judge that compares episodes sees those of one task together; a break there takes that task's episodes with it.
    Episodes that carry no reward are left as they are.
    """
    judged = list(episodes)
    for places in _parts(judge, episodes):
        part = [episodes[i] for i in places]
        for i, episode in zip(places, _judge_part(judge, part), strict=True):
            judged[i] = episode
    return judged


def _parts(judge: Judge, episodes: Sequence[Episode]) -> list[list[int]]:
    """The places of the episodes that are judged together."""
    parts: dict[Any, list[int]] = {}
    for i, episode in enumerate(episodes):
        if episode.outcome.carries_reward:
            key = i if getattr(judge, "judges_alone", False) else episode.task.task_id
            parts.setdefault(key, []).append(i)
    return list(parts.values())


def _judge_part(judge: Judge, part: Sequence[Episode]) -> list[Episode]:
    try:
        scores = judge(part)
        odd = [score.value for given in scores for score in _named(given) if not math.isfinite(score.value)]
        if odd:
            raise VerifierError("a judge gave a score that is not a finite number", got=odd[0])  # noqa: TRY301
    except BadInput:
        raise
    except Exception as error:
        return [_failed(episode, error) for episode in part]
    if len(scores) != len(part):
        raise BadInput("a judge must give one score per episode", got=len(scores), wanted=len(part))
    return [
        replace(episode, traces=tuple(replace(trace, score=_score_of(trace, given)) for trace in episode.traces))
        for episode, given in zip(part, scores, strict=True)
    ]


def _named(given: Judgement) -> list[Score]:
    return list(given.values()) if isinstance(given, Mapping) else [given]


def _score_of(trace: Trace, given: Judgement) -> Score | None:
    if isinstance(given, Mapping):
        return given.get(trace.seat, given.get(role_of(trace.seat)))
    return given


def _failed(episode: Episode, error: Exception) -> Episode:
    fault = Fault(type(error).__name__, str(error), f"judging {episode.episode_id}")
    traces = (replace(t, outcome=Outcome.VERIFIER_FAILED, fault=fault, score=None) for t in episode.traces)
    return replace(episode, traces=tuple(traces))


def _check(episode: Episode, load: Callable[[], Check]) -> Score:
    if not episode.outcome.carries_reward:
        return Score(0.0, why=f"not judged: {episode.outcome}")
    try:
        check = load()
        evidence = {"evidence": episode.info} if _reads_evidence(check) else {}
        return check(episode.task, episode.answer, **evidence)
    except (BadInput, VerifierError):
        raise
    except Exception as error:
        raise VerifierError(
            "a check broke", where=episode.task.judge.path, got=f"{type(error).__name__}: {error}"
        ) from error


def _reads_evidence(check: Check) -> bool:
    """Whether a check also wants to know how the world was left: it has a parameter called `evidence`."""
    if isinstance(check, functools.partial):
        return "evidence" not in check.keywords and _has_evidence(check.func)
    return _has_evidence(check)


@functools.lru_cache(maxsize=256)
def _has_evidence(check: Callable[..., Any]) -> bool:
    return "evidence" in inspect.signature(check).parameters
