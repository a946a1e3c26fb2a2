# mypy: ignore-errors
"""Makes numbers and queries of a seed, and the answers that they have."""

import random

NUM_NUMBERS, NUM_QUERIES = 4000, 1200


def draw(seed):
    """The questions of one seed: long and short parts, all ranks, many numbers more than once."""
    rng = random.Random(seed)
    numbers = [rng.randrange(NUM_NUMBERS // 2) for _ in range(NUM_NUMBERS)]
    return {"numbers": numbers, "queries": [_draw_query(rng) for _ in range(NUM_QUERIES)]}


def answers(questions):
    """What is right, in the slow and certain way."""
    numbers = questions["numbers"]
    return [sorted(numbers[start:stop])[k] for start, stop, k in questions["queries"]]


def _draw_query(rng):
    start, stop = sorted(rng.sample(range(NUM_NUMBERS + 1), 2))
    return [start, stop, rng.randrange(stop - start)]
