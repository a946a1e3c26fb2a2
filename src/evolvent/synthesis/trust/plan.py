"""How much is tried, and where the bounds are."""

from __future__ import annotations

from dataclasses import dataclass

from evolvent.envs import Toolbox, calc
from evolvent.envs.world import WorldPlan
from evolvent.errors import BadInput
from evolvent.rewards import Check, Judge, by_task
from evolvent.rollouts.play import Workflow


@dataclass(frozen=True, slots=True)
class Proof:
    """How tasks are made to prove themselves: how they are played and judged, how many are tried, and the bounds.

    Without a `workflow` the tools are called until there is an answer, however many turns that takes.
    `num_tasks` of each cell and split are played, `num_attacked` of them are attacked too;
    of a finite cell, `max_rows` tasks are compared with each other. Guessing is warned of where
    its share is above `warn_floor`, and fails where its 95 % interval lies above `max_floor`. `form_counts` says that a
    task may reject other forms of its answer; a task says so itself by private.data["form_counts"], and by
    private.data["several_right"] that a changed answer may be right too. `timeout_s` ends
    the proof behind the cell in which it ran out.
    """

    world: WorldPlan = Toolbox((calc,))
    workflow: Workflow | None = None
    judge: Judge | Check = by_task
    truth: Judge | Check | None = None
    num_tasks: int = 8
    num_attacked: int = 2
    max_rows: int = 5000
    warn_floor: float = 0.3
    max_floor: float = 0.75
    form_counts: bool = False
    max_draw_s: float = 10.0
    max_judge_s: float = 10.0
    timeout_s: float = 600.0
    redraws: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_tasks < 1 or self.num_attacked < 0:
            raise BadInput("nothing to try", where="num_tasks", got=self.num_tasks, wanted=">= 1")
        if not 0 <= self.warn_floor <= 1 or not 0 <= self.max_floor <= 1:
            raise BadInput("a floor is a share", where="max_floor", got=self.max_floor, wanted="0 to 1")
        if self.max_judge_s <= 0 or self.timeout_s <= 0:
            raise BadInput("a bound of no time", where="timeout_s", got=self.timeout_s, wanted="> 0 seconds")
