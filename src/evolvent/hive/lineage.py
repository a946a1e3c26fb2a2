"""Checks that every run of a task stands on runs of the same task, and follows who built on whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from evolvent.errors import BadInput
from evolvent.hive.board import BoardRun
from evolvent.hive.paths import check_commit

MIN_PREFIX = 7


def find_parent(task: str, commit: str, parent: str | None, runs: Iterable[BoardRun]) -> str | None:
    """The full name of the run that a new one builds on; BadInput where it is unknown, another task's, or itself.

    None and "none" say that it builds on nothing. A prefix of 7 digits or more will do where one run has it.
    """
    check_commit(commit)
    if parent is None or parent == "none":
        return None
    if not isinstance(parent, str) or len(parent) < MIN_PREFIX or set(parent) - set("0123456789abcdef"):
        wanted = f"the commit of a run, {MIN_PREFIX} digits or more of it, or none"
        raise BadInput("this is no name of a parent", where=task, got=ascii(parent)[:80], wanted=wanted)
    found = sorted({run.commit for run in runs if run.task == task and run.commit.startswith(parent)})
    if len(found) != 1:
        what = "several runs begin like this parent" if found else "the parent is no run of this task"
        raise BadInput(what, where=task, got=parent, wanted="a run of the same task", cure="list the runs")
    if found[0] == commit:
        raise BadInput("a run cannot build on itself", where=task, got=commit)
    return found[0]


def check_lineage(runs: Sequence[BoardRun]) -> None:
    """BadInput where a run is there twice, a parent is missing or another task's, or runs build on each other."""
    known: dict[tuple[str, str], BoardRun] = {}
    for run in runs:
        if (run.task, run.commit) in known:
            raise BadInput("a run is there twice", where=run.task, got=run.commit)
        known[run.task, run.commit] = run
    for run in runs:
        if run.parent is not None and (run.task, run.parent) not in known:
            raise BadInput(
                "the parent is no run of this task", where=f"{run.task}: {run.commit}", got=run.parent, wanted="its run"
            )
    settled: set[tuple[str, str]] = set()
    for run in runs:
        settled |= _follow(run, known, settled)


def ancestors(commit: str, runs: Iterable[BoardRun]) -> list[BoardRun]:
    """What a run builds on, from itself to the first: the chain whose authors share in it."""
    known = {run.commit: run for run in runs}
    chain: list[BoardRun] = []
    at: str | None = commit
    while at is not None and at in known and len(chain) <= len(known):
        chain.append(known[at])
        at = known[at].parent
    return chain


def children(runs: Iterable[BoardRun]) -> dict[str | None, list[str]]:
    """By parent the runs that build on it, in the order of submission; below None those that build on nothing."""
    found: dict[str | None, list[str]] = {}
    for run in sorted(runs, key=lambda run: run.number):
        found.setdefault(run.parent, []).append(run.commit)
    return found


def _follow(
    run: BoardRun, known: Mapping[tuple[str, str], BoardRun], settled: set[tuple[str, str]]
) -> set[tuple[str, str]]:
    seen: set[tuple[str, str]] = set()
    at: BoardRun | None = run
    while at is not None and (at.task, at.commit) not in settled:
        if (at.task, at.commit) in seen:
            raise BadInput("runs build on each other in a circle", where=at.task, got=at.commit)
        seen.add((at.task, at.commit))
        at = known[at.task, at.parent] if at.parent is not None else None
    return seen
