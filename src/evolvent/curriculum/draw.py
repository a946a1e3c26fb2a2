"""Tasks for one step: the curriculum chooses the cells, the source fills them, and no problem comes twice."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator

from evolvent.curriculum.frontier import CellKey, LiveFrontier, LiveUniform
from evolvent.errors import BadInput, GateFailed
from evolvent.records import Task
from evolvent.seeds import stream
from evolvent.tasks.source import Source

NUM_TRIES = 20  # redraws of a problem that is in the step already, before a cell is searched from one end to the other
INDEX_SPACE = 1 << 40


def draw_tasks(
    curriculum: LiveFrontier | LiveUniform, source: Source, *, num: int, seed: int, step: int, held_out: Collection[str]
) -> list[Task]:
    """`num` distinct training tasks, fewer only where the drawn cells hold fewer; a function of (seed, step)."""
    cells = curriculum.draw(num, stream(seed, "cells", step))
    drawn: dict[str, Task] = {}
    spent: set[CellKey] = set()
    for i, cell in enumerate(cells):
        if cell in spent:
            continue
        for index in _indices(source.num_tasks(*cell, "train"), stream(seed, "task", step, i)):
            task = source.task(*cell, index, "train")
            if task.problem not in drawn:
                drawn[task.problem] = task
                break
        else:
            spent.add(cell)
    if num and not drawn:
        raise BadInput(
            "the source holds no training task", got=sorted(set(cells)), wanted="at least one in these cells"
        )
    check_disjoint(drawn, held_out)
    return list(drawn.values())


def _indices(limit: int | None, rng: random.Random) -> Iterator[int]:
    """Where to look for a task: at random, then, in a cell that ends, everywhere from a random place on."""
    if limit != 0:
        yield from (rng.randrange(limit or INDEX_SPACE) for _ in range(NUM_TRIES))
    if limit:
        start = rng.randrange(limit)
        yield from ((start + i) % limit for i in range(limit))


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
