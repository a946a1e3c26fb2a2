"""Proves that a task folder is sound: its solution passes, nothing else that is wrong does, and nothing lies open.

Stages, in order: room, oracle, nop, mutant, alternative, leak, repeat, hash. The first that fails rejects the task.
Every run is in a sandbox of its own. `repeat` comes as late as it can, so that a clock has moved on since the oracle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evolvent.envs.sandbox.tier import Sandbox
from evolvent.envs.shell_image import refusal
from evolvent.envs.shell_tests import Trial, judge_files, solve_script, try_script
from evolvent.synthesis.terminal.leaks import find_leak
from evolvent.tasks.formats.harbor import HarborTask, read_task, task_folders

STAGES = ("room", "oracle", "nop", "mutant", "alternative", "leak", "repeat", "hash")
TICK_S = 1.05  # a stamp in seconds differs after it
WHOLE = 1.0 - 1e-9


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One check of one task; `kind` is the stage."""

    task_hash: str
    kind: str
    run: int
    reward: float | None
    is_passed: bool
    seconds: float
    log: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """How often the controls run, and how many wrong and other right solutions a task must bring."""

    num_runs: int = 2
    num_mutants: int = 0
    num_alternatives: int = 0


@dataclass
class Proof:
    """The checks of one task as they are made."""

    task: HarborTask
    sandbox: Sandbox
    asked: Asked = Asked()
    rows: list[CheckRow] = field(default_factory=list)
    began: float = 0.0
    left: str = ""

    @property
    def failed(self) -> str:
        """The stage that rejected the task; nothing where none has."""
        return next((row.kind for row in self.rows if not row.is_passed), "")

    def begin(self) -> Proof:
        """All stages that need no time to pass; stops at the first that fails."""
        self.began = time.monotonic()
        for stage in (self._room, self._oracle, self._nop, self._mutants, self._alternatives, self._leak):
            for row in stage():
                self.rows.append(row)
                if not row.is_passed:
                    return self
        return self

    def end(self) -> Proof:
        """The solution again, and whether the folder is still the one that was checked."""
        if self.failed:
            return self
        time.sleep(max(0.0, TICK_S - (time.monotonic() - self.began)))
        for run in range(2, self.asked.num_runs + 1):
            trial, row = self._tried("repeat", run, solve_script(self.task), lambda r: r >= WHOLE, solution=True)
            if row.is_passed and trial.left.digest != self.left:
                row = CheckRow(row.task_hash, "repeat", run, row.reward, False, row.seconds, _UNSTABLE)
            self.rows.append(row)
            if not row.is_passed:
                return self
        self.rows.append(CheckRow(self.task.digest, "hash", 1, None, True, 0.0, self.task.digest))
        return self

    def _room(self) -> Iterator[CheckRow]:
        why = refusal(self.task, self.sandbox)
        if not why and self.task.steps:
            why = "a task of several steps is not played here"
        yield CheckRow(self.task.digest, "room", 1, None, not why, 0.0, why)

    def _oracle(self) -> Iterator[CheckRow]:
        if not solve_script(self.task):
            yield CheckRow(self.task.digest, "oracle", 1, None, False, 0.0, "the task has no solution/solve.sh")
            return
        trial, row = self._tried("oracle", 1, solve_script(self.task), lambda r: r >= WHOLE, solution=True)
        self.left = trial.left.digest
        yield row
        again = judge_files(self.sandbox, self.task, trial.left)  # the same files twice: only tests can differ
        yield CheckRow(row.task_hash, "oracle", 2, again.reward, again.reward >= WHOLE, again.seconds, again.log)

    def _nop(self) -> Iterator[CheckRow]:
        for run in range(1, self.asked.num_runs + 1):
            yield self._tried("nop", run, "", lambda r: r <= 0.0)[1]

    def _mutants(self) -> Iterator[CheckRow]:
        yield from self._probes("mutant", self.asked.num_mutants, lambda r: r < WHOLE)

    def _alternatives(self) -> Iterator[CheckRow]:
        yield from self._probes("alternative", self.asked.num_alternatives, lambda r: r >= WHOLE)

    def _probes(self, kind: str, least: int, is_fine: Callable[[float], bool]) -> Iterator[CheckRow]:
        found = {p: d for p, d in sorted(self.task.below("probes").items()) if p.startswith(f"{kind}-")}
        if len(found) < least:
            yield CheckRow(self.task.digest, kind, 0, None, False, 0.0, f"{len(found)} of them, wanted {least}")
        for run, data in enumerate(found.values(), 1):
            yield self._tried(kind, run, data.decode("utf-8", "replace"), is_fine)[1]

    def _leak(self) -> Iterator[CheckRow]:
        start = time.perf_counter()
        found = find_leak(self.task)
        yield CheckRow(self.task.digest, "leak", 1, None, not found, time.perf_counter() - start, found)

    def _tried(
        self, kind: str, run: int, script: str, is_fine: Callable[[float], bool], *, solution: bool = False
    ) -> tuple[Trial, CheckRow]:
        start = time.perf_counter()
        trial = try_script(self.sandbox, self.task, script, solution=solution)
        reward = trial.verdict.reward
        said = trial.verdict.why or trial.verdict.log
        log = said + (f"\nprinted: {trial.printed}" if trial.printed else "")
        return trial, CheckRow(
            self.task.digest, kind, run, reward, is_fine(reward), time.perf_counter() - start, log[-1000:]
        )


_UNSTABLE = "the same solution left other files the second time: it depends on a clock or on chance"


def validate(task: HarborTask | str | Path, sandbox: Sandbox, asked: Asked = Asked()) -> list[CheckRow]:
    """All checks of a task, of a task folder, or of every one below a folder.

    Of each task the last row has failed, or all have passed.
    """
    folders = [task] if isinstance(task, HarborTask) else [read_task(path) for path in task_folders(task)]
    return [row for proof in prove(folders, sandbox, asked) for row in proof.rows]


def prove(folders: Sequence[HarborTask], sandbox: Sandbox, asked: Asked = Asked()) -> list[Proof]:
    """The proofs of several tasks, so interleaved that nobody waits for the clock but the last."""
    begun = [Proof(folder, sandbox, asked).begin() for folder in folders]
    return [proof.end() for proof in begun]
