"""Our step: sample, make traces, assign credit, update; and the gradient that an update would take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.inputs import our_policy
from bench.sampling import sampled
from bench.trl_side import CLIP_HIGH, CLIP_LOW, LR, MAX_GRAD_NORM

MICRO_TOKENS = 8192  # the default of a plan
Reward = Callable[[Sequence[int], int], float]  # of a row's tokens and the number of its group
MAX_GAP = {"float32": 2e-3, "bfloat16": 0.2}  # as a run has it: the gates stay on


@dataclass
class Practice:
    """Group-relative practice on one model file; a group whose scores are all alike makes no rows."""

    folder: Path
    dtype: str
    group: int
    device: str = "cpu"

    def __post_init__(self) -> None:
        from evolvent.training.optim import AdamW

        self.policy = our_policy(self.folder, self.dtype, self.device)
        self.optimizer = AdamW(LR, (0.9, 0.999), 1e-8, 0.0, MAX_GRAD_NORM).begin(self.policy.named_parameters())
        self.num_steps = 0
        self.drawn: list[int] = []  # tokens of the last step's completions
        self.numbers: dict[str, float] = {}  # what the last update said
        self.num_rows = 0
        self.sampling_s = self.step_s = 0.0

    def step(self, asked: Sequence[Sequence[int]], row_lengths: Sequence[int], reward: Reward) -> float:
        """One whole step."""
        from evolvent.credit.advantage import Standardized
        from evolvent.credit.batch import assign

        self.num_steps += 1
        start = time.perf_counter()
        made = sampled(self.policy, asked, row_lengths, seed=self.num_steps)
        self.sampling_s = time.perf_counter() - start
        self.drawn = [len(completion.tokens) for _, completion in made]
        episodes = [self._episode(i, prompt, completion, reward) for i, (prompt, completion) in enumerate(made)]
        batch = assign(episodes, "agent", Standardized(ddof=1, eps=1e-4))
        self.num_rows = len(batch.rows)
        self.numbers = trained_on(self.policy, self.optimizer, batch, self.dtype)
        self.step_s = time.perf_counter() - start
        return 1.0

    def _episode(self, number: int, prompt: Any, completion: Any, reward: Reward) -> Any:
        """A sampled row as the record of a played task."""
        from evolvent.records import Episode, Message, Origin, Reference, Score, Task, Text, Trace, Turn

        which, sample = divmod(number, self.group)
        task = Task(f"t{which}", "bench", 1, (), None, Reference("bench:none"), Origin("bench"))
        asked = Turn("0", None, "agent", 0, Message("user", ()), prompt.tokens, (False,) * len(prompt.tokens))
        spoken = Turn(
            "1", "0", "agent", 1, completion.message or Message("assistant", (Text(completion.text),)),
            completion.tokens, (True,) * len(completion.tokens), completion.sampled_logprobs,
            completion.model_logprobs, version=completion.version,
        )  # fmt: skip
        score = Score(reward(completion.tokens, which))
        trace = Trace(task.task_id, sample, "agent", "agent", (asked, spoken), score=score)
        return Episode(f"t{which}/{sample}", task, sample, (trace,))


def practice_loss() -> Any:
    """The loss that TRL calls dapo."""
    from evolvent.training.losses import Clip, PolicyLoss, per_token, token_mean

    return PolicyLoss(per_token, Clip(CLIP_LOW, CLIP_HIGH), token_mean)


def trained_on(policy: Any, optimizer: Any, batch: Any, dtype: str, loss: Any = None) -> dict[str, float]:
    """One update."""
    from evolvent.plans import Improve
    from evolvent.training.update import update

    micro_tokens = Improve.__dataclass_fields__["micro_tokens"].default  # as a run has it
    return update(
        policy, optimizer, batch, loss or practice_loss(), micro_tokens=micro_tokens, max_logprob_gap=MAX_GAP[dtype]
    )


def gradient(policy: Any, batch: Any, dtype: str, loss: Any = None) -> dict[str, Any]:
    """The gradient inside `update`, by weight: read from an AdamW that remembers one step and changes nothing."""
    from evolvent.training.optim import AdamW

    probe = AdamW(0.0, (0.0, 0.999), 1e-8, 0.0, float("inf")).begin(policy.named_parameters())
    trained_on(policy, probe, batch, dtype, loss)
    return {k.removesuffix("/exp_avg"): v for k, v in probe.state().items() if k.endswith("/exp_avg")}


def batch_of(rows: Sequence[tuple[Sequence[int], int, float]]) -> Any:
    """Rows given as (tokens, length of the prompt, credit); what the sampler thought of them is unknown."""
    import numpy as np

    from evolvent.credit.batch import Batch, Row

    made = []
    for number, (tokens, start, credit) in enumerate(rows):
        mask = np.arange(len(tokens)) >= start
        made.append(
            Row(
                group=(number,), trace=(str(number), 0, "agent"), tokens=np.array(tokens, dtype=np.int64), mask=mask,
                known=np.zeros(len(tokens), dtype=bool), sampler_logprobs=np.zeros(len(tokens)),
                credit=np.where(mask, credit, 0.0).astype(np.float32), versions=(0,),
            )
        )  # fmt: skip
    return Batch(tuple(made), len(made), len(made), 0, 0, 0, {})


@dataclass(frozen=True)
class Agreement:
    """How near two gradients are: the largest difference over the largest entry, and the cosine between them."""

    gap: float
    cosine: float

    def holds(self, dtype: str) -> bool:
        """1e-4 of the largest entry in float32, cosine 0.99 in bfloat16."""
        return self.gap <= 1e-4 if dtype == "float32" else self.cosine >= 0.99


def agreement(mine: dict[str, Any], theirs: dict[str, Any]) -> Agreement:
    """Two gradients of the same weights beside each other; a weight that only one of them has is a difference."""
    import torch

    if set(mine) != set(theirs):
        return Agreement(float("inf"), 0.0)
    a, b = (torch.cat([g[n].detach().cpu().double().flatten() for n in sorted(g)]) for g in (mine, theirs))
    gap = float((a - b).abs().max() / b.abs().max())
    return Agreement(gap, float(a @ b / (a.norm() * b.norm())))
