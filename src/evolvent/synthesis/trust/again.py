"""Makes the same tasks a second time in another process, and plays the same words a second time in this one."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
from collections.abc import Sequence
from typing import Any

from evolvent.codec import encode, from_json, to_json
from evolvent.errors import BadInput, EvolventError
from evolvent.records import Task, said
from evolvent.rewards.workers import Workers
from evolvent.synthesis.trust.bench import Bench, Script
from evolvent.synthesis.trust.curtain import rehearse
from evolvent.synthesis.trust.draw import DrawnCell
from evolvent.synthesis.trust.plan import Proof
from evolvent.synthesis.trust.verdict import Ledger
from evolvent.tasks.source import Source

HASH_SEED = "20261"  # of the other process; any that this one does not have


def compare_redrawn(source: Source, cells: Sequence[DrawnCell], proof: Proof, ledger: Ledger) -> None:
    """Draw the same tasks in a fresh process with another PYTHONHASHSEED, and compare them byte for byte."""
    wanted = [(c.family, c.level, split, index) for c in cells for split, index in c.places.values()]
    tasks = [task for c in cells for task in c.played]
    try:
        text = to_json(source)
    except BadInput as error:
        ledger.warn("again", None, "the source has no JSON form, so no other process can draw from it", error.what)
        return
    try:
        path = "evolvent.synthesis.trust.again:fingerprints"
        found = other_process().run(path, proof.timeout_s, source=text, wanted=wanted)
    except EvolventError as error:
        ledger.warn("again", None, "another process could not draw the same tasks", f"{error.what}: {error.got}")
        return
    for task, print_there in zip(tasks, found, strict=True):
        ledger.try_one("again")
        if fingerprint(task) != print_there:
            ledger.fail("again", task, "another process draws another task for the same index", task.question)


def fingerprints(source: str, wanted: Sequence[tuple[str, int, str, int]]) -> list[str]:
    """Runs in the other process: the digest of each task that is asked for."""
    drawn: Any = from_json(source)
    return [fingerprint(drawn.task(family, level, index, split)) for family, level, split, index in wanted]


def fingerprint(task: Task) -> str:
    """SHA-256 of a task with its private part."""
    return hashlib.sha256(to_json(task).encode()).hexdigest()


def compare_redone(tasks: Sequence[Task], bench: Bench, ledger: Ledger) -> None:
    """Play the oracle twice: the same trace, evidence and state; and from a snapshot, the same end twice."""
    scripts = [Script(task, _words(task)) for task in tasks if task.private is not None]
    for script, once, twice in zip(scripts, bench.traces(scripts), bench.traces(scripts), strict=True):
        ledger.try_one("again")
        if once is None or twice is None:
            continue  # what broke is told where it was judged
        if encode((once.traces, once.answer, once.info)) != encode((twice.traces, twice.answer, twice.info)):
            ledger.fail("again", script.task, "the same words lead to another trace the second time", once.answer)
        _rehearse(script.task, bench.proof, ledger)


def _rehearse(task: Task, proof: Proof, ledger: Ledger) -> None:
    try:
        once, twice = (asyncio.run(rehearse(proof.world, task, proof.seed)) for _ in range(2))
    except Exception:  # a world that cannot be opened has failed its oracle already
        return
    if once != twice:
        ledger.fail("again", task, "the same calls leave the world in another state", f"{once} / {twice}"[:200])
    try:
        ended = asyncio.run(rehearse(proof.world, task, proof.seed, halfway=True))
    except Exception as error:
        words = error.what if isinstance(error, EvolventError) else f"{type(error).__name__}: {error}"
        ledger.notes["branches"] = f"the world has no snapshots: {words}"
        return
    ledger.try_one("branches")
    if ended.digest != "same":
        ledger.fail("branches", task, "two branches of a snapshot differ under the same actions", str(ended))


def _words(task: Task) -> tuple[Any, ...]:
    assert task.private is not None
    return task.private.solution or (said("assistant", task.private.answer),)


@functools.cache
def other_process() -> Workers:
    """The process that draws again, started at first use and kept."""
    mine = os.environ.get("PYTHONHASHSEED", "")
    return Workers(1, environment={"PYTHONHASHSEED": "1" if mine == HASH_SEED else HASH_SEED})
