"""Tries a task before others work on it: its baseline runs, there is room above it, and forgeries come to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from evolvent.errors import VerifierError
from evolvent.hive.play import Played
from evolvent.hive.sealed import Bench, Outcome, SealedResult
from evolvent.hive.task import HiveTask
from evolvent.hive.trusted import HOLDOUT, SEALED, Scorer

EDGE = 0.01  # of the range: closer to an end than this is at the end
LARGE_SEED = 10**6  # smaller numbers stand in texts by chance
FORGED = (b"1.0", b"[NaN]", b"[" * 10_000, b"[]", b"{}")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried, whether it went as it must, and what was seen."""

    name: str
    passed: bool
    seen: str


def prove(task: HiveTask, bench: Bench) -> list[Check]:
    """Every check of a task, in order; the task may be opened to agents when all have passed."""
    digest = bench.shelf.put(task)
    try:
        return list(_checks(task, digest, bench))
    except VerifierError as error:
        return [Check("the scorer answers", False, str(error))]


def _checks(task: HiveTask, digest: str, bench: Bench) -> Iterator[Check]:
    first = bench.measure_files(digest, task.baseline)
    seen = _tell_failure(first) if first.why else f"{first.value:.6g}"
    yield Check("the baseline runs and is scored", first.outcome is Outcome.SCORED, seen)
    if first.value is None:
        return
    second = bench.measure_files(digest, task.baseline)
    is_same = second.values == first.values if task.exact else second.outcome is Outcome.SCORED
    seen = _tell_values(first.values, second.values) if second.values else second.why
    yield Check("measured again it is the same" if task.exact else "it can be measured again", is_same, seen)
    yield _check_room(task, first.value)
    holdout = bench.measure_files(digest, task.baseline, seeds=task.holdout_seeds, bundle="holdout")
    seen = holdout.why or f"{holdout.value:.6g}"
    yield Check("the hold-out scores it too", holdout.outcome is Outcome.SCORED, seen)
    yield _check_questions(task, bench, first)
    nothing = bench.measure_files(digest, dict.fromkeys(task.baseline, b""))
    yield Check("an artifact that does nothing is invalid", nothing.value is None, nothing.why or str(nothing.value))
    yield _check_forged(task, digest, bench)
    yield _check_leaks(task)


def _tell_failure(result: SealedResult) -> str:
    """Why there is no number, and the last words of what ran, which are its author's own."""
    lines = [line.strip() for one in result.seeds for line in one.log.splitlines() if line.strip()]
    return f"{result.why}; its log ends: {lines[-1][:200]}" if lines else result.why


def _tell_values(first: tuple[float, ...], second: tuple[float, ...]) -> str:
    if first == second:
        return ", ".join(f"{value:.6g}" for value in first)
    return f"{first} and {second}"


def _check_room(task: HiveTask, value: float) -> Check:
    name = "the baseline is neither at the floor nor at the ceiling"
    if task.range is None:
        return Check(name, True, f"{value:.6g}; no range is declared")
    low, high = task.range
    edge = EDGE * (high - low)
    return Check(name, low + edge < value < high - edge, f"{value:.6g} in {low:g} to {high:g}")


def _check_questions(task: HiveTask, bench: Bench, first: SealedResult) -> Check:
    """Where every seed asks the same, fresh seeds and a hold-out hold nothing out."""
    folder = bench.shelf.folder(task.digest)
    with Scorer(task, folder, SEALED) as scorer, Scorer(task, folder, HOLDOUT) as other:
        both = [scorer.pose(task.seeds[0]), other.pose(task.holdout_seeds[0])]
    is_same = len({one.inputs_digest for one in first.seeds}) < len(first.seeds) or both[0] == both[1]
    return Check("each seed asks something else", not is_same, "the same questions" if is_same else "all different")


def _check_forged(task: HiveTask, digest: str, bench: Bench) -> Check:
    """Predictions that nothing computed get no number from the scorer itself."""
    folder, taken = bench.shelf.folder(digest), []
    forged = [*FORGED, f'{{"{task.metric}": 1.0}}'.encode(), f"---\n{task.metric}: 1.0".encode()]
    with Scorer(task, folder) as scorer:
        for predictions in forged:
            written = (predictions, predictions) if task.replay else (predictions,)
            times = {"own": [0.001], "baseline": [1.0]} if task.timed else {}
            marks = scorer.score(task.seeds[0], Played((), written, "", times))
            taken += [f"{predictions[:20]!r} = {marks.cases[0]:g}"] if marks.cases else []
    return Check("forged predictions are invalid", not taken, "; ".join(taken) or f"{len(forged)} tried")


def _check_leaks(task: HiveTask) -> Check:
    """Nothing sealed lies among the public files, and no seed that a text would not hold by chance."""
    public = task.below("public")
    sealed = {data for part in ("sealed", "holdout") for data in task.below(part).values() if data}
    leaks = [path for path, data in public.items() if data in sealed]
    seeds = [str(seed).encode() for seed in (*task.seeds, *task.holdout_seeds) if seed >= LARGE_SEED]
    leaks += [path for path, data in public.items() if any(seed in data for seed in seeds)]
    return Check("nothing sealed is public", not leaks, ", ".join(leaks) or f"{len(public)} files")
