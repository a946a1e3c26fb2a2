"""Powers modulo a small number."""

from __future__ import annotations

import random

from evolvent.records import Reference, said
from evolvent.tasks.procedural.draft import Draft

LEVELS = (1, 2, 3, 4, 5)
JUDGE = Reference("evolvent.rewards.verify:numeric")

MAX_EXPONENT = {1: 2, 2: 4, 3: 8, 4: 20, 5: 99}
MAX_MODULUS = {1: 12, 2: 12, 3: 20, 4: 50, 5: 99}


def make(rng: random.Random, level: int) -> Draft:
    """A power such as 7^13 mod 11."""
    base = rng.randint(2, 20 if level <= 2 else 99)
    exponent = rng.randint(2, MAX_EXPONENT[level])
    modulus = rng.randint(3, MAX_MODULUS[level])
    answer = str(pow(base, exponent, modulus))
    # by squaring, along the leading bits of the exponent: 13 by way of 3 and 6
    on_the_way = [exponent >> shift for shift in range(exponent.bit_length() - 2, -1, -1)]
    worked = " ".join(f"{base}^{step}={pow(base, step, modulus)}" for step in on_the_way)
    return Draft(f"{base}^{exponent} mod {modulus}=?", answer, solution=(said("assistant", worked),))
