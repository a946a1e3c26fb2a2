"""Shows how far many episodes have come: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from evolvent.cli.screen import Screen
from evolvent.envs.world import World
from evolvent.errors import BadInput
from evolvent.records import Task
from evolvent.rollouts.play import Workflow
from evolvent.rollouts.seat import BudgetSpent
from evolvent.rollouts.workflows import Answer, Team

EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Watched:
    """A workflow that says when each episode is over, and that refuses a prompt which leaves no room for an answer."""

    workflow: Workflow
    tick: Callable[[], None]

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one episode."""
        try:
            return await self.workflow(task, team, world)
        except BudgetSpent as spent:
            if not any(turn.message.role == "assistant" for seat in team.values() for turn in seat.turns):
                num = max(sum(len(turn.tokens) for turn in seat.turns) for seat in team.values())
                raise too_long(task, num, str(spent)) from None
            raise
        finally:
            self.tick()


def too_long(task: Task, num_tokens: int, budget: str) -> BadInput:
    """The error for a prompt that fills a budget by itself."""
    return BadInput(
        "the prompt is longer than the context",
        where=f"task {task.task_id}",
        got=f"{num_tokens} tokens before the first word of an answer",
        wanted=f"fewer than budgets.{budget}_tokens",
        cure=f"raise budgets.{budget}_tokens (a model reads no more than its own context), or leave the task out",
    )


@contextmanager
def ticking(screen: Screen, total: int, stage: str) -> Iterator[Callable[[], None]]:
    """A function to call after each of `total` episodes."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("[bold]{task.description:<11}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(), console=screen.console, disable=not screen.console.is_terminal,
        transient=True,
    )  # fmt: skip
    row, start = bar.add_task(stage, total=total), time.monotonic()
    done, said = 0, start

    def tick() -> None:
        nonlocal done, said
        done += 1
        bar.update(row, completed=done)
        now = time.monotonic()
        if not screen.console.is_terminal and now - said > EVERY_S:
            said = now
            left = (now - start) / done * (total - done)
            screen.say(f"{now - start:6.0f} s  {stage} {done} of {total}, {done / (now - start):.1f}/s, {left:.0f} s left")

    with bar:
        yield tick
