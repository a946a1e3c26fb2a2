"""Runs an artifact on the questions of a seed: once, with a replay after it, or by turns with the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evolvent.envs.sandbox import Ended, Limits, Result, Sandbox
from evolvent.errors import BadInput, InfrastructureError, VerifierError
from evolvent.hive.task import FORETOLD, HiveTask

ROOM = 2**20  # beyond the files that are put in, for what the artifact writes on its way
NUM_MORE = 1024  # files of its own, likewise


@dataclass(frozen=True)
class Played:
    """What an artifact did: its runs, the files that count, why there are none, and seconds where it was timed."""

    ran: tuple[Result, ...]
    written: tuple[bytes, ...] = ()
    why: str = ""
    times: Mapping[str, Sequence[float]] = field(default_factory=dict)


def play(sandbox: Sandbox, task: HiveTask, files: Mapping[str, bytes], inputs: Mapping[str, bytes]) -> Played:
    """Every run that the task asks for, each in a sandbox of its own; a later one is not begun once one has failed."""
    if task.timed:
        return _play_by_turns(sandbox, task, files, inputs)
    first = _run(sandbox, task, files, (task.command, task.predictions, inputs))
    why = _complain(task, first, task.predictions)
    if why or not task.replay:
        return Played((first,), () if why else (first.files[task.predictions],), why)
    foretold = {FORETOLD: first.files[task.predictions]}
    second = _run(sandbox, task, files, (task.replay, task.replayed, foretold))
    why = _complain(task, second, task.replayed)
    return Played((first, second), () if why else (foretold[FORETOLD], second.files[task.replayed]), why)


def _play_by_turns(sandbox: Sandbox, task: HiveTask, files: Mapping[str, bytes], inputs: Mapping[str, bytes]) -> Played:
    """Artifact and baseline by turns, so that a busy machine slows both; who is first changes from turn to turn."""
    what = (task.command, task.predictions, inputs)
    ran: list[Result] = []
    baseline_s: list[float] = []
    for turn in range(task.timed):
        for is_own in (turn % 2 == 0, turn % 2 == 1):
            one = _run(sandbox, task, files if is_own else task.baseline, what)
            why = _complain(task, one, task.predictions)
            if why and not is_own:
                raise VerifierError("the baseline broke", where=task.where, got=why)
            if not is_own:
                baseline_s.append(one.usage.wall_s)
                continue
            ran.append(one)
            if not why and one.files != ran[0].files:
                why = f"another answer in turn {turn + 1}"
            if why:
                return Played(tuple(ran), (), why)
    times = {"own": [one.usage.wall_s for one in ran], "baseline": baseline_s}
    return Played(tuple(ran), (ran[0].files[task.predictions],), "", times)


def _run(
    sandbox: Sandbox,
    task: HiveTask,
    artifact: Mapping[str, bytes],
    what: tuple[Sequence[str], str, Mapping[str, bytes]],
) -> Result:
    command, kept, inputs = what
    files = {**task.fixed, **artifact, **inputs}
    if len(files) != len(task.fixed) + len(artifact) + len(inputs):
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
        num_files=len(files) + NUM_MORE,
    )


def _complain(task: HiveTask, ran: Result, kept: str) -> str:
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
