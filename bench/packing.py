"""How much of what an update reads is padding, for several mixes of lengths: what the update itself reports."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from bench.rows import Row, alone

MIXES: dict[str, Callable[[random.Random], int]] = {
    "even 32..512": lambda rng: rng.randint(32, 512),
    "long tail, median 60": lambda rng: min(512, max(8, int(rng.lognormvariate(4.1, 0.7)))),
    "two turns or six": lambda rng: rng.choice((rng.randint(40, 60), rng.randint(200, 260))),
    "all alike": lambda rng: 64,
}
MOST = 0.03


def cases(full: bool) -> list[dict[str, Any]]:
    """Every mix at the size of a step."""
    return [{"mix": mix, "rows": rows} for mix in MIXES for rows in ((64, 256, 1024) if full else (256,))]


def measure(mix: str, rows: int) -> list[Row]:
    """The padding share of one mix; no two rows share anything, and the model is the smallest there is."""
    from bench.our_side import batch_of, trained_on
    from evolvent.models.spec import ModelSpec, build
    from evolvent.models.tokenizer import build_tokenizer
    from evolvent.policies.local import LocalPolicy
    from evolvent.training.losses import Likelihood, token_mean
    from evolvent.training.optim import AdamW

    rng = random.Random(0)
    made = [([rng.randrange(32, 127) for _ in range(MIXES[mix](rng))], 1, 1.0) for _ in range(rows)]
    tokenizer = build_tokenizer()
    policy = LocalPolicy(build(ModelSpec(depth=1), tokenizer, 0), tokenizer)
    optimizer = AdamW(1e-5).begin(policy.named_parameters())
    numbers = trained_on(policy, optimizer, batch_of(made), "float32", Likelihood(token_mean))
    whole = numbers["num_rows"] == rows and numbers["num_tokens"] == sum(len(tokens) - 1 for tokens, _, _ in made)
    share = numbers["padding_share"]
    return [alone("packing, padding share", share, "of positions", same_work=whole, target=MOST,
                  why="target: at most", mix=mix, rows=rows)]  # fmt: skip
