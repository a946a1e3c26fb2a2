"""Ordering puzzles: comparisons that leave exactly one order."""

from __future__ import annotations

import itertools
import random

from evolvent.records import Reference, said
from evolvent.tasks.procedural.draft import Draft

LEVELS = (1, 2, 3, 4, 5)
JUDGE = Reference("evolvent.rewards.verify:exact")

NUM_ITEMS = {1: 3, 2: 4, 3: 5, 4: 6, 5: 8}


def make(rng: random.Random, level: int) -> Draft:
    """Letters to put in order; every neighbouring pair is compared, so the order is unique."""
    order = rng.sample("abcdefghijklmnopqrstuvwxyz", NUM_ITEMS[level])
    pairs = list(itertools.pairwise(order))
    # comparisons that follow from others make the puzzle longer, not easier to see through
    far = [(a, b) for i, a in enumerate(order) for b in order[i + 2 :]]
    pairs += rng.sample(far, min(len(far), level // 2))
    rng.shuffle(pairs)
    clues = [f"{a}<{b}" if rng.random() < 0.5 else f"{b}>{a}" for a, b in pairs]
    answer = "".join(order)
    return Draft(f"{' '.join(clues)}. smallest first?", answer, solution=(said("assistant", answer),))
