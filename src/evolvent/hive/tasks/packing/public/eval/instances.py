# mypy: ignore-errors
"""Makes instances whose best packing is known, and counts what a packing is worth."""

import random

CAPACITY, NUM_BINS, NUM_INSTANCES = 1000, 20, 12


def draw(seed):
    """The instances of one seed; the optimum of each is NUM_BINS, for its items fill so many bins exactly."""
    rng = random.Random(seed)
    cuts = [_cut_triplet if i % 2 == 0 else _cut_freely for i in range(NUM_INSTANCES)]
    return [_draw_one(rng, cut) for cut in cuts]


def fill(instance, bins):
    """The optimum over the bins used; ValueError where it is no packing."""
    items, capacity = instance["items"], instance["capacity"]
    if type(bins) is not list or len(bins) != len(items):
        raise ValueError(f"a packing needs {len(items)} numbers of bins")
    loads = {}
    for size, place in zip(items, bins, strict=True):
        if type(place) is not int or not 0 <= place < len(items):
            raise ValueError(f"{str(place)[:40]!r} is no number of a bin: a whole number from 0 to {len(items) - 1}")
        loads[place] = loads.get(place, 0) + size
    if max(loads.values()) > capacity:
        raise ValueError(f"a bin holds {max(loads.values())}, and its capacity is {capacity}")
    return NUM_BINS / len(loads)


def _draw_one(rng, cut):
    items = [size for _ in range(NUM_BINS) for size in cut(rng)]
    rng.shuffle(items)
    return {"capacity": CAPACITY, "items": items}


def _cut_triplet(rng):
    # as Falkenauer (1996): one item just below a half, two above a quarter
    first = rng.randint(380, 490)
    second = rng.randint(250, (CAPACITY - first) // 2)
    return [first, second, CAPACITY - first - second]


def _cut_freely(rng):
    marks = sorted(rng.sample(range(50, CAPACITY - 50, 10), rng.randint(1, 4)))
    return [end - start for start, end in zip([0, *marks], [*marks, CAPACITY], strict=True)]
