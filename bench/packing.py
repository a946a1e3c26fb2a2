"""How much of a packed batch is padding, for several mixes of lengths."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from bench.rows import Row

MIXES: dict[str, Callable[[random.Random], int]] = {
    "even 32..512": lambda rng: rng.randint(32, 512),
    "long tail, median 60": lambda rng: min(512, max(8, int(rng.lognormvariate(4.1, 0.7)))),
    "two turns or six": lambda rng: rng.choice((rng.randint(40, 60), rng.randint(200, 260))),
    "all alike": lambda rng: 64,
}


def cases(full: bool) -> list[dict[str, Any]]:
    """Every mix at the size of a step."""
    return [{"mix": mix, "rows": rows} for mix in MIXES for rows in ((64, 256, 1024) if full else (256,))]


def measure(mix: str, rows: int, micro_tokens: int = 16384) -> list[Row]:
    """The padding share of one mix."""
    import numpy as np

    from evolvent.credit.batch import Row as TrainRow
    from evolvent.credit.packing import pack, padding_share

    rng = random.Random(0)
    made = []
    for i in range(rows):
        length = MIXES[mix](rng)
        ones = np.ones(length)
        made.append(
            TrainRow(
                (str(i),),
                (str(i), 0, "agent"),
                ones.astype(np.int64),
                ones.astype(bool),
                ones,
                ones.astype(np.float32),
                (0,),
                True,
            )
        )
    packs = pack(made, micro_tokens)
    share = padding_share(packs)
    whole = sorted(r.group for p in packs for r in p) == sorted(r.group for r in made)
    return [
        Row(
            "packing, padding share",
            "-",
            None,
            None,
            None,
            share,
            None,
            "of positions",
            whole,
            0.03,
            None,
            "target: at most",
            {"mix": mix, "rows": rows, "micro-batches": len(packs)},
        )
    ]
