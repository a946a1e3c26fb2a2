"""Lets a run begin only on tasks of which a small sample has proven itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from evolvent.envs.world import WorldPlan
from evolvent.errors import BadInput
from evolvent.rewards import Judge, by_task
from evolvent.rollouts.play import Workflow
from evolvent.rollouts.workflows import ToolLoop, single, tool_loop
from evolvent.synthesis.trust.examine import cells_of, examine
from evolvent.synthesis.trust.plan import Proof
from evolvent.synthesis.trust.verdict import KINDS, TrustReport
from evolvent.tasks.copies import Copies
from evolvent.tasks.positions import NimGames
from evolvent.tasks.procedural import Procedural
from evolvent.tasks.several import Several
from evolvent.tasks.source import Source
from evolvent.tasks.tallies import Tallies

PROVEN = (Procedural, Copies, Tallies, NimGames)  # the tests of this package prove every cell of these
NUM_CELLS, NUM_TASKS, NUM_ROWS, SECONDS = 8, 2, 64, 10.0


def refuse_unproven(source: Source, world: WorldPlan, workflow: Workflow, truth: Judge | None = None) -> None:
    """BadInput with what is wrong where a sample of the tasks fails; sources that our tests prove cost nothing."""
    if is_proven(source):
        return
    first = next((cell for cell in cells_of(source)), None)
    if first is None or not _has_agent(source, world, *first):
        return  # a game between two seats has no answer that could be right
    # tasks are proven as they are asked: what else a workflow does between question and answer is its own affair
    plain = workflow if isinstance(workflow, ToolLoop) or workflow is single else tool_loop
    judge = truth if truth is not None and getattr(truth, "judges_alone", False) else by_task
    sample = Proof(world, plain, judge, num_tasks=NUM_TASKS, num_attacked=1, max_rows=NUM_ROWS, redraws=False)
    sample = replace(sample, timeout_s=SECONDS, max_draw_s=SECONDS, max_judge_s=SECONDS)
    report = examine(Few(source), sample, name=type(source).__name__)
    if report.failed:
        raise BadInput(
            "these tasks do not hold what training needs",
            where=f"source, {report.num_tasks} tasks of it looked at",
            got=_told(report),
            wanted="tasks that prove themselves",
            cure="evolvent check SOURCE shows all of it; mend the tasks, or train on them as they are: unproven=true",
        )


def is_proven(source: Any) -> bool:
    """Whether the tests of this package prove every cell of a source."""
    if isinstance(source, Several):
        return all(is_proven(part) for part in source.sources)
    return type(source) in PROVEN


@dataclass(frozen=True, slots=True)
class Few:
    """The first level of each family of a source, and further ones while there is room."""

    source: Source

    @property
    def families(self) -> tuple[str, ...]:
        """The families of the source, as many as are looked at."""
        return self.source.families[:NUM_CELLS]

    def levels(self, family: str) -> tuple[int, ...]:
        """The easiest levels, and the hardest."""
        room = max(1, NUM_CELLS // len(self.families))
        levels = self.source.levels(family)
        return levels if len(levels) <= room else (*levels[: room - 1], levels[-1])[:room]

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """How many tasks a cell holds."""
        return self.source.num_tasks(family, level, split)

    def task(self, family: str, level: int, index: int, split: str = "train") -> Any:
        """Task `index` of a cell."""
        return self.source.task(family, level, index, split)


def _has_agent(source: Source, world: WorldPlan, family: str, level: int) -> bool:
    for split in ("train", "test"):
        if source.num_tasks(family, level, split) != 0:
            return "agent" in world.open(source.task(family, level, 0, split), 0).seats
    return False


def _told(report: TrustReport) -> str:
    lines = []
    for check in report.failed:
        flaw = check.examples[0]
        where = f" ({flaw.task_id})" if flaw.task_id else ""
        lines.append(f"{check.name}: not so that {KINDS[check.name].asks}. {flaw.what}{where}: {flaw.got[:160]}")
    return "\n          ".join(lines)
