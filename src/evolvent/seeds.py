"""Named random streams from one run seed: item i depends on (seed, names, i) and on nothing else."""

from __future__ import annotations

import hashlib
import json
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Name = str | int


def derive(seed: int, *names: Name) -> int:
    """A 64-bit key for the stream called `names` under `seed`; stable across machines and versions of Python."""
    text = json.dumps([seed, *names], ensure_ascii=True, separators=(",", ":"))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def stream(seed: int, *names: Name) -> random.Random:
    """A Python generator for choices that are few: which task, which level, which trace."""
    return random.Random(derive(seed, *names))


def uniforms(seed: int, *names: Name, num: int) -> np.ndarray:
    """`num` float64 draws in [0, 1) of the stream called `names`; the first k do not depend on `num`."""
    import numpy as np

    draws: np.ndarray = np.random.Generator(np.random.Philox(key=derive(seed, *names))).random(num)
    return draws
