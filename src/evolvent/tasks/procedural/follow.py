"""Following arrows: one step is seen at a glance, many are only found one after the other."""

from __future__ import annotations

import random
from itertools import accumulate

from evolvent.records import Reference, Score, Task, said
from evolvent.tasks.procedural.draft import Draft

LEVELS = (1, 2, 3, 4, 5, 6, 7, 8)
JUDGE = Reference("evolvent.tasks.procedural.follow:check")

NUM_NODES = 6


def make(rng: random.Random, level: int) -> Draft:
    """Arrows among six nodes such as 03 14 ..., all in one circle, and `level` steps to go; worked node by node."""
    circle = rng.sample(range(NUM_NODES), NUM_NODES)
    leads = dict(zip(circle, circle[1:] + circle[:1], strict=True))
    start = rng.choice(circle)
    arrows = rng.sample(sorted(leads.items()), NUM_NODES)
    path = list(accumulate(range(level), lambda node, _: leads[node], initial=start))[1:]
    question = f"{' '.join(f'{a}{b}' for a, b in arrows)}:{start}*{level}?"
    around = "".join(str(node) for node in circle[circle.index(start) :] + circle[: circle.index(start)])
    solution = (said("assistant", "".join(map(str, path))),)
    return Draft(question, str(path[-1]), data={"around": around}, solution=solution)


def check(task: Task, answer: str) -> Score:
    """1 where an answer ends with the node that is reached."""
    assert task.private is not None
    right = answer.rstrip().endswith(task.private.answer)
    return Score(float(right), why=f"ends {'' if right else 'not '}with {task.private.answer}")
