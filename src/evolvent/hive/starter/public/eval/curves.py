# mypy: ignore-errors
"""Draws a curve and questions about it, and says what answers are worth; the scorer uses it too, with other seeds."""

import math
import random

NUM_KNOWN, NUM_ASKED, NOISE = 40, 60, 0.1


def draw(seed):
    """The questions of a seed, and the true values of what is asked."""
    rng = random.Random(seed)
    waves = [(rng.uniform(1, 4), rng.uniform(0, 6.28), rng.uniform(0.3, 1)) for _ in range(3)]
    known = [[x, bounded(waves, x) + rng.gauss(0, NOISE)] for x in (rng.random() for _ in range(NUM_KNOWN))]
    asked = [rng.random() for _ in range(NUM_ASKED)]
    return {"known": known, "asked": asked}, [bounded(waves, x) for x in asked]


def bounded(waves, x):
    """The value of a curve, from 0 to 1."""
    whole = sum(size * math.sin(6.28 * rate * x + shift) for rate, shift, size in waves)
    return 0.5 + 0.5 * whole / sum(size for _, _, size in waves)


def worth(truth, answers):
    """One number from 0 to 1 for each answer; ValueError where these are no answers."""
    if type(answers) is not list or len(answers) != len(truth):
        raise ValueError(f"the predictions must be a list of {len(truth)} numbers")
    for answer in answers:
        if type(answer) not in (int, float) or not -1e6 < answer < 1e6:
            raise ValueError(f"{str(answer)[:40]!r} is no answer: a number is wanted")
    return ["@WORTH@" for one, other in zip(truth, answers, strict=True)]
