"""Samples a copy of the weights in other numbers, in this process: the smallest engine that is not the trainer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from evolvent.models.devices import resolve_dtype
from evolvent.policies.sampler import Bounds, Drawn, plain_weights
from evolvent.records import Prompt, Sampling

if TYPE_CHECKING:
    from evolvent.policies.local import LocalPolicy


@dataclass(frozen=True, slots=True)
class Twin:
    """A copy in `dtype` that samples for weights which are trained in longer numbers."""

    dtype: str = "bfloat16"
    bounds: Bounds = Bounds()

    def begin(self, source: LocalPolicy) -> LiveTwin:
        """The copy at work."""
        return LiveTwin(source, self.dtype)


class LiveTwin:
    """The copy, with the mark of the weights that it has."""

    def __init__(self, source: LocalPolicy, dtype: str) -> None:
        from evolvent.policies.local import LocalPolicy

        device = next(source.model.parameters()).device
        model = source.copy().model
        model = model.merge_and_unload() if hasattr(model, "peft_config") else model
        model = model.to(resolve_dtype(dtype, device))
        self.policy = LocalPolicy(model, source.tokenizer, f"{source.name}-twin")
        self.name, self.dtype, self.max_context = f"twin ({dtype})", dtype, source.max_context
        self.mark = ""

    async def take(self, source: LocalPolicy, mark: str) -> None:
        """See Sampler."""
        self.policy.model.load_state_dict(plain_weights(source))
        self.policy.forget()
        self.mark = mark

    async def draw(self, prompts: Sequence[Prompt], how: Sampling, stop_ids: Collection[int]) -> list[Drawn]:
        """See Sampler."""
        self.policy.renderer.stop_ids = frozenset(stop_ids)
        made = self.policy.sample_now([replace(p, continues=None) for p in prompts], how)
        self.policy.forget()
        return [
            Drawn(c.tokens, c.sampled_logprobs, c.model_logprobs, self.mark, len(c.tokens) < p.room(how) and ended)
            for p, c in zip(prompts, made, strict=True)
            for ended in [c.tokens[-1] not in self.policy.renderer.stop_ids]
        ]

    async def score(self, rows: Sequence[Sequence[int]]) -> list[tuple[float, ...]]:
        """See Sampler."""
        longest = max(map(len, rows))
        token_BT = np.full((len(rows), longest), self.policy.pad_id, dtype=np.int64)
        mask_BT = np.zeros((len(rows), longest), dtype=bool)
        for i, row in enumerate(rows):
            token_BT[i, : len(row)] = row
            mask_BT[i, 1 : len(row)] = True
        with torch.no_grad():
            flat = self.policy.logprobs(self.policy.lay_out(token_BT, mask_BT))[0].tolist()
        ends = np.cumsum([len(row) - 1 for row in rows])
        return [tuple(flat[end - len(row) + 1 : end]) for end, row in zip(ends, rows, strict=True)]

    def close(self) -> None:
        """Nothing outlives the object."""
