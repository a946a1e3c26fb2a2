"""Scores a commit where its author cannot reach: the artifact predicts in the sandbox, a trusted process scores that.

Nothing that the artifact prints, returns or writes counts as a number. What it wrote into one declared file goes, as
bytes, to the scorer of the task that the run was pinned to, with data that were never in the sandbox.
"""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from evolvent.envs.sandbox import Sandbox, best
from evolvent.errors import BadInput
from evolvent.hive.commits import Taken, take
from evolvent.hive.paths import complain, lies_in
from evolvent.hive.play import play
from evolvent.hive.task import HiveTask, digest_files
from evolvent.hive.task_folder import Shelf
from evolvent.hive.trusted import HOLDOUT, SEALED, Marks, Scorer
from evolvent.store.origin import versions

MAX_LOG = 4096


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
    made_with: Mapping[str, str] = field(default_factory=dict)

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
        if stray := [path for path in files if complain(path) or not lies_in(path, task.mutable)]:
            got, wanted = ascii(stray[0]), f"at {', '.join(task.mutable)}"
            raise BadInput("this file is no part of an artifact", where=task.name, got=got, wanted=wanted)
        own = task.holdout_seeds if bundle == HOLDOUT else task.seeds
        return self._measure(task, Taken(files), "", tuple(own if seeds is None else seeds), bundle)

    def _measure(self, task: HiveTask, taken: Taken, commit: str, seeds: tuple[int, ...], bundle: str) -> SealedResult:
        sandbox = self.sandbox or best()
        results: list[SeedResult] = []
        why = taken.trouble
        if not why:
            with Scorer(task, self.shelf.folder(task.digest), bundle) as scorer:
                for seed in seeds:
                    results.append(_run_seed(sandbox, task, scorer, taken, seed))
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
            made_with={name: version for name, version in versions().items() if version},
        )


def _run_seed(sandbox: Sandbox, task: HiveTask, scorer: Scorer, taken: Taken, seed: int) -> SeedResult:
    inputs = scorer.pose(seed)
    played = play(sandbox, task, taken.files, inputs)
    marks = Marks(why=played.why) if played.why else scorer.score(seed, played)
    predictions = played.ran[0].files.get(task.predictions, b"")
    return SeedResult(
        seed=seed,
        cases=marks.cases,
        why=marks.why,
        inputs_digest=digest_files(inputs),
        predictions_digest=hashlib.sha256(predictions).hexdigest() if predictions else "",
        wall_s=sum(one.usage.wall_s for one in played.ran),
        cpu_s=sum(one.usage.cpu_s for one in played.ran),
        log=_tail("\n".join([*(one.stdout + one.stderr for one in played.ran), marks.log])),
    )


def _tail(text: str) -> str:
    text = text.strip()
    return text if len(text) <= MAX_LOG else "..." + text[-MAX_LOG:]
