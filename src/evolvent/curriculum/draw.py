"""Tasks for one step: the curriculum chooses the cells, the source fills them, and no problem comes twice."""

from __future__ import annotations

from collections.abc import Collection

from evolvent.curriculum.frontier import LiveFrontier, LiveUniform
from evolvent.errors import GateFailed
from evolvent.records import Task
from evolvent.seeds import stream
from evolvent.tasks.source import Source

NUM_TRIES = 20  # redraws of a problem that is in the step already, before the cell is taken as exhausted
INDEX_SPACE = 1 << 40


def draw_tasks(
    curriculum: LiveFrontier | LiveUniform, source: Source, *, num: int, seed: int, step: int, held_out: Collection[str]
) -> list[Task]:
    """`num` distinct training tasks (fewer where the cells hold fewer); item i depends on (seed, step, i) alone."""
    cells = curriculum.draw(num, stream(seed, "cells", step))
    drawn: dict[str, Task] = {}
    for i, (family, level) in enumerate(cells):
        limit = source.num_tasks(family, level, "train") or INDEX_SPACE
        rng = stream(seed, "task", step, i)
        for _ in range(NUM_TRIES):
            task = source.task(family, level, rng.randrange(limit), "train")
            if task.question not in drawn:
                drawn[task.question] = task
                break
    check_disjoint(drawn, held_out)
    return list(drawn.values())


def check_disjoint(questions: Collection[str], held_out: Collection[str]) -> None:
    """Stop where a training prompt is also a held-out one."""
    shared = [q for q in questions if q in held_out]
    if shared:
        raise GateFailed(
            "a training prompt is in the held-out set",
            got=shared[0][:80],
            wanted="no problem on both sides",
            cure="the source's train and test splits overlap; divide them by generator parameters",
        )
