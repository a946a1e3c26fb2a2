"""Shows how far many episodes have come: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from evolvent.cli.screen import Screen
from evolvent.envs.world import World
from evolvent.records import Task
from evolvent.rollouts.play import Workflow
from evolvent.rollouts.workflows import Answer, Team

EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Watched:
    """A workflow that says when each episode is over."""

    workflow: Workflow
    tick: Callable[[], object]

    @property
    def max_at_once(self) -> int | None:
        """How many episodes the workflow can bear at a time, where it says so."""
        found: int | None = getattr(self.workflow, "max_at_once", None)
        return found

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one episode."""
        try:
            return await self.workflow(task, team, world)
        finally:
            self.tick()


@contextmanager
def hearing_ctrl_c() -> Iterator[Callable[[], None]]:
    """A function that raises KeyboardInterrupt where Ctrl-C was pressed and nothing came of it.

    SQLite drops whatever is raised in a callback of ours, such as the guard of a database, and takes it for a refusal.
    """
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    pressed = False

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        before(number, frame)

    def heard() -> None:
        if pressed:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, press)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def ticking(screen: Screen, total: int, stage: str) -> Iterator[Callable[[], None]]:
    """A function to call after each of `total` episodes."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("[bold]{task.description:<11}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(), console=screen.console, disable=not screen.console.is_terminal,
        transient=True,
    )  # fmt: skip
    row, start = bar.add_task(stage, total=total), time.monotonic()
    done, said = 0, start

    def tick() -> None:
        nonlocal done, said
        heard()
        done += 1
        bar.update(row, completed=done)
        now = time.monotonic()
        if not screen.console.is_terminal and now - said > EVERY_S:
            said = now
            left = (now - start) / done * (total - done)
            screen.say(
                f"{now - start:6.0f} s  {stage} {done} of {total}, {done / (now - start):.1f}/s, {left:.0f} s left"
            )

    with hearing_ctrl_c() as heard, bar:
        yield tick
