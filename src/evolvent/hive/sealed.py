"""Scores a commit where its author cannot reach: the artifact predicts in the sandbox, a trusted process scores that.

Nothing that the artifact prints, returns or writes counts as a number. What it wrote into one declared file goes, as
bytes, to the scorer of the task that the run was pinned to, with data that were never in the sandbox.
"""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from evolvent.envs.sandbox import Ended, Limits, Result, Sandbox, best
from evolvent.errors import BadInput, InfrastructureError
from evolvent.hive.commits import Taken, take
from evolvent.hive.task import FORETOLD, HiveTask, digest_files
from evolvent.hive.task_folder import Shelf
from evolvent.hive.trusted import HOLDOUT, SEALED, pose, score

MAX_LOG = 4096
ROOM = 2**20  # beyond the files that are put in, for what the artifact writes on its way


class Outcome(StrEnum):
    """Whether there is an official number."""

    SCORED = "scored"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class SeedResult:
    """One run of the artifact on one seed: a number for each case, or why there is none, and what was seen of it."""

    seed: int
    cases: tuple[float, ...] = ()
    why: str = ""
    inputs_digest: str = ""
    predictions_digest: str = ""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    log: str = ""

    @property
    def value(self) -> float:
        """The mean over the cases."""
        return statistics.fmean(self.cases)


@dataclass(frozen=True, slots=True)
class SealedResult:
    """An official measurement, with everything that it depends on; where it is invalid it has no value."""

    task: str
    task_digest: str
    commit: str
    tree_digest: str
    bundle: str
    tier: str
    outcome: Outcome
    why: str = ""
    seeds: tuple[SeedResult, ...] = ()

    @property
    def values(self) -> tuple[float, ...]:
        """One number for each seed."""
        return tuple(one.value for one in self.seeds) if self.outcome is Outcome.SCORED else ()

    @property
    def value(self) -> float | None:
        """The official number: the mean over the seeds."""
        return statistics.fmean(self.values) if self.values else None


@dataclass(frozen=True)
class Bench:
    """Where commits are scored: the tasks that are trusted, by digest, and the sandbox (the best one here)."""

    shelf: Shelf
    sandbox: Sandbox | None = None

    def measure(
        self,
        digest: str,
        repository: Path | str,
        commit: str,
        *,
        seeds: Sequence[int] | None = None,
        bundle: str = SEALED,
    ) -> SealedResult:
        """Score a commit against the task of this digest, on the task's own seeds or on these.

        BadInput where the commit or the task is not there, VerifierError where the scorer broke, InfrastructureError
        where the machine did: in these three cases nothing was measured. All else is a result.
        """
        if bundle not in (SEALED, HOLDOUT):
            raise BadInput("there is no such bundle", where="hive", got=bundle, wanted=f"{SEALED} | {HOLDOUT}")
        task = self.shelf.take(digest)
        taken = take(repository, commit, task.mutable, task.budget)
        own = task.holdout_seeds if bundle == HOLDOUT else task.seeds
        return self._measure(task, taken, commit, tuple(own if seeds is None else seeds), bundle)

    def measure_files(
        self, digest: str, files: Mapping[str, bytes], *, seeds: Sequence[int] | None = None, bundle: str = SEALED
    ) -> SealedResult:
        """Score an artifact that is no commit, such as the task's own baseline."""
        task = self.shelf.take(digest)
        return self._measure(task, Taken(files), "", tuple(task.seeds if seeds is None else seeds), bundle)

    def _measure(self, task: HiveTask, taken: Taken, commit: str, seeds: tuple[int, ...], bundle: str) -> SealedResult:
        sandbox = self.sandbox or best()
        results: list[SeedResult] = []
        why = taken.trouble
        for seed in seeds if not why else ():
            results.append(_run_seed(sandbox, task, self.shelf.folder(task.digest), taken, (seed, bundle)))
            why = results[-1].why
            if why:  # the mean over the other seeds would be a choice of the easy ones
                break
        if not seeds:
            raise BadInput("nothing is measured without seeds", where="hive", got=seeds, wanted="at least one")
        return SealedResult(
            task=task.name,
            task_digest=task.digest,
            commit=commit,
            tree_digest=taken.digest,
            bundle=bundle,
            tier=sandbox.name,
            outcome=Outcome.INVALID if why else Outcome.SCORED,
            why=why,
            seeds=tuple(results),
        )


def _run_seed(sandbox: Sandbox, task: HiveTask, folder: Path, taken: Taken, which: tuple[int, str]) -> SeedResult:
    seed, bundle = which
    inputs = pose(task, folder, seed, bundle)
    ran = [_run(sandbox, task, taken, (task.command, task.predictions, inputs))]
    why = _complain_run(task, ran[0], task.predictions)
    if task.replay and not why:
        foretold = {FORETOLD: ran[0].files[task.predictions]}
        ran.append(_run(sandbox, task, taken, (task.replay, task.replayed, foretold)))
        why = _complain_run(task, ran[1], task.replayed)
    predictions = ran[0].files.get(task.predictions, b"")
    cases: tuple[float, ...] = ()
    if not why:
        written = [next(iter(one.files.values())) for one in ran]
        marks = score(task, folder, seed, written, bundle)
        cases, why = marks.cases, marks.why
    return SeedResult(
        seed=seed,
        cases=cases,
        why=why,
        inputs_digest=digest_files(inputs),
        predictions_digest=hashlib.sha256(predictions).hexdigest() if predictions else "",
        wall_s=sum(one.usage.wall_s for one in ran),
        cpu_s=sum(one.usage.cpu_s for one in ran),
        log=_tail("\n".join(one.stdout + one.stderr for one in ran)),
    )


def _run(
    sandbox: Sandbox, task: HiveTask, taken: Taken, what: tuple[Sequence[str], str, Mapping[str, bytes]]
) -> Result:
    command, kept, inputs = what
    files = {**task.fixed, **taken.files, **inputs}
    if len(files) != len(task.fixed) + len(taken.files) + len(inputs):
        raise BadInput("files of the task stand in each other's way", where=task.where, got=", ".join(inputs))
    try:
        return sandbox.run(command, files=files, keep=(kept,), limits=_limits(task, files))
    except BadInput as error:
        raise InfrastructureError(
            "this sandbox cannot run an artifact", where=sandbox.name, got=str(error), cure="apt install bubblewrap"
        ) from error


def _limits(task: HiveTask, files: Mapping[str, bytes]) -> Limits:
    budget, whole = task.budget, sum(map(len, files.values()))
    largest = max(map(len, files.values()), default=0)
    return Limits(
        wall_s=budget.seconds,
        cpu_s=budget.seconds,
        memory_bytes=budget.memory_mb * 2**20,
        # a byte more than is allowed, so that what is too large is seen to be
        file_bytes=max(largest, budget.prediction_bytes + 1),
        disk_bytes=whole + 2 * budget.prediction_bytes + ROOM,
    )


def _complain_run(task: HiveTask, ran: Result, kept: str) -> str:
    """Why a run of the artifact has no predictions that could be scored."""
    if ran.outcome is Ended.TIMED_OUT:
        return f"late: it ran longer than {task.budget.seconds:g} s"
    if ran.outcome is not Ended.OK:
        how = f"with exit {ran.exit}" if ran.outcome is Ended.FAILED else f": {ran.outcome}"
        return f"the artifact ended {how}"
    written = ran.files.get(kept)
    if written is None:
        return f"no predictions: {kept} is missing, or is no regular file, or is too large"
    if len(written) > task.budget.prediction_bytes:
        return f"the predictions are larger than {task.budget.prediction_bytes} bytes: {kept}"
    return "" if written else f"the predictions are empty: {kept}"


def _tail(text: str) -> str:
    text = text.strip()
    return text if len(text) <= MAX_LOG else "..." + text[-MAX_LOG:]
