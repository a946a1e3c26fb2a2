"""Runs jobs in processes of their own, a few at a time, tells how far each is, and stops them all on Ctrl-C."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from evolvent.errors import EvolventError

TELL_EVERY_S = 0.5
LOOK_EVERY_S = 1.0
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """A function of the top level of a module, its arguments, and what the job is called; `tell` comes as the last."""

    name: str
    call: Callable[..., Any]
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Outcome:
    """What a job returned, or why it did not."""

    job: Job
    value: Any = None
    failure: str = ""


@dataclass
class _Running:
    job: Job
    process: SpawnProcess
    ear: Connection
    said: str = "begins"
    answer: tuple[str, Any] | None = None
    started: float = field(default_factory=time.monotonic)


def run_side_by_side(
    jobs: Sequence[Job], num_processes: int, show: Callable[[Mapping[str, str]], None] = lambda _: None
) -> Iterator[Outcome]:
    """Every job's outcome as it comes; `show` is called every second with what each running job last told."""
    waiting, running = list(jobs), list[_Running]()
    try:
        while waiting or running:
            while waiting and len(running) < num_processes:
                running.append(_start(waiting.pop(0)))
            _listen(running)
            for one in [r for r in running if not r.process.is_alive()]:
                _drain(one)
                running.remove(one)
                yield _outcome(one)
            show({one.job.name: f"{one.said}, {time.monotonic() - one.started:.0f} s" for one in running})
    finally:
        for one in running:
            one.process.terminate()
        for one in running:
            one.process.join()


def _start(job: Job) -> _Running:
    context = multiprocessing.get_context("spawn")
    ear, mouth = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(mouth, job.call, job.arguments), name=job.name, daemon=True)
    with _one_thread():
        process.start()
    mouth.close()
    return _Running(job, process, ear)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """A process that begins inside has one thread: two of several share two cores badly."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _listen(running: Sequence[_Running]) -> None:
    """Wait a moment for any word, or for an end."""
    ready = wait([*(one.ear for one in running), *(one.process.sentinel for one in running)], LOOK_EVERY_S)
    for one in running:
        if one.ear in ready:
            _drain(one)


def _drain(one: _Running) -> None:
    with contextlib.suppress(EOFError, OSError):
        while one.answer is None and one.ear.poll():
            kind, value = one.ear.recv()
            if kind == "told":
                one.said = value
            else:
                one.answer = (kind, value)


def _outcome(one: _Running) -> Outcome:
    one.process.join()
    one.ear.close()
    if one.answer is None:
        return Outcome(one.job, failure=f"{one.job.name}: its process ended with status {one.process.exitcode}")
    kind, value = one.answer
    return Outcome(one.job, value) if kind == "done" else Outcome(one.job, failure=f"{one.job.name}: {value}")


# ---------------------------------------------------------------- in the other process


def _work(mouth: Connection, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process stops the others
    last = 0.0

    def tell(words: str) -> None:
        nonlocal last
        if time.monotonic() - last > TELL_EVERY_S:
            last = time.monotonic()
            mouth.send(("told", words))

    try:
        answer = ("done", call(*arguments, tell))
    except EvolventError as error:
        answer = ("failed", str(error))
    except Exception:
        answer = ("failed", traceback.format_exc())
    mouth.send(answer)
