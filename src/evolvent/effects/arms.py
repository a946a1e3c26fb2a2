"""Runs a plan to its end as one arm of an experiment, from a cold start that arms of the same seed share."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evolvent.codec import to_json
from evolvent.effects import cold_starts
from evolvent.effects.session import current
from evolvent.errors import BadInput
from evolvent.evals.contrast import Spent
from evolvent.evals.diagnosis import Diagnosis
from evolvent.evals.measure import Suite
from evolvent.plans import Improve, check, part
from evolvent.policies.policy import Policy
from evolvent.records import Cell, Report
from evolvent.store import Run

NEVER = 1 << 30  # steps
FIRST_SEED = 1_000_000  # the seeds of effects are none that `evolvent run` was tuned on
FIRST_LEVEL = Suite(num_tasks=512, num_levels=1, num_tasks_during=64, best_of=1)  # what most effects measure
NUM_TEXTS = 2000  # training tasks that teach a learned vocabulary


@dataclass(frozen=True)
class Arm:
    """A finished arm: its reports by name, the metrics lines of its practice, its policies as they ended, its cost.

    `diagnoses` are those of its arena, one a round.
    """

    plan: Improve
    reports: Mapping[str, Report]
    lines: tuple[Mapping[str, Any], ...]
    policies: Mapping[str, Policy]
    spent: Spent
    diagnoses: tuple[Diagnosis, ...] = ()

    def report(self, name: str = "after") -> Report:
        """One report; the last one may also have been the first."""
        if name not in self.reports:
            raise BadInput("no such report in this arm", got=name, wanted=" | ".join(sorted(self.reports)))
        return self.reports[name]

    def outcomes(
        self, column: str = "scores", *, report: str = "after", levels: Iterable[int] = ()
    ) -> dict[str, float]:
        """A column of the cells of a report, per held-out task; `levels` picks some, by default all."""
        if column not in COLUMNS:
            raise BadInput("no such column", got=column, wanted=" | ".join(COLUMNS))
        wanted = set(levels)
        cells = [c for c in self.report(report).cells if not wanted or c.level in wanted]
        return {task: value for cell in cells for task, value in _named(cell, column)}


COLUMNS = ("scores", "used_tool", "right_with_tool", "best", "num_tokens")


def _named(cell: Cell, column: str) -> Iterator[tuple[str, float]]:
    for task_id, value in zip(cell.task_ids, getattr(cell, column), strict=True):
        yield f"{cell.family}:{cell.level}:{task_id}", value


def arm(plan: Improve, seed: int, folder: Path | None = None) -> Arm:
    """Run a plan with a seed to its end, on one thread; in a new `folder`, or in a temporary one that goes away.

    Seed i runs the plan with FIRST_SEED + i. The cold start is made once per (plan's cold start, seed) and machine,
    and kept for other arms and effects.
    """
    plan = check(bare(replace(plan, seed=FIRST_SEED + seed)))
    before, seconds = (None, 0.0) if plan.cold_start is None else cold_starts.cold_start(plan, carry_out)
    start = time.perf_counter()
    with _place(folder) as path:
        run = Run.create(to_json(plan, indent=1) + "\n", plan.recipe, plan.seed, path)
        if before is not None:
            cold_starts.copy(before, run)
        policies = carry_out(plan, run)
        reports = {report.name: report for report in run.reports()}
        diagnoses = tuple(run.diagnoses())
        lines = tuple(line for line in run.metrics() if line.get("phase") == "practice")
    tokens = sum(line["num_written"] for line in lines)
    spent = Spent(tokens, len(lines), time.perf_counter() - start, seconds)
    return Arm(plan, reports, lines, policies, spent, diagnoses)


def bare(plan: Improve) -> Improve:
    """The plan with its course unchanged and its bookkeeping left out."""
    without = replace(plan, sinks=(), keep_checkpoints=1, checkpoint_every=NEVER, keep_episodes_every=NEVER)
    return replace(without, num_threads=1, unproven=True)


def carry_out(plan: Improve, run: Run) -> dict[str, Policy]:
    """A plan from where its folder stands to its end; the policies come back as they ended."""
    from evolvent.loop import improve

    policies = build_policies(plan)
    improve(plan, policies, run, current().watch)
    return policies


def build_policies(plan: Improve) -> dict[str, Policy]:
    """The policies that a plan names, new ones from the plan's seed."""
    import torch

    from evolvent import tasks
    from evolvent.policies.build import build_policy

    torch.set_num_threads(plan.num_threads)
    source = tasks.source(plan.source, plan.seed) if isinstance(plan.source, str) else plan.source
    return {
        name: build_policy(
            plan.model[name] if isinstance(plan.model, Mapping) else plan.model,
            name=name,
            seed=plan.seed + number,  # two new policies do not begin as one
            texts=_training_texts(source),
            dtype=plan.dtype,
            device=plan.device,
            adapter=plan.adapter,
            engine=plan.engine,
            gradient_checkpointing=plan.gradient_checkpointing,
            sampler=part(plan.sampler, name) if name in plan.trained else None,
        )
        for number, name in enumerate(sorted(set(plan.seats.values())))
    }


def _training_texts(source: Any) -> Iterator[str]:
    if hasattr(source, "texts"):
        yield from source.texts()
        return
    cells = [(family, level) for family in source.families for level in source.levels(family)]
    for i, (family, level) in zip(range(NUM_TEXTS), itertools.cycle(cells), strict=False):
        limit = source.num_tasks(family, level, "train")
        task = source.task(family, level, i if limit is None else i % limit, "train")
        yield task.question
        if task.private is not None:
            yield from (message.text for message in task.private.solution)


@contextmanager
def _place(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="evolvent-arm-") as made:
        yield Path(made)
