"""A trainable policy that an engine samples: weights stay here, are handed over when they changed, and are proven."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from evolvent.policies import canary
from evolvent.policies.decode import Draws
from evolvent.policies.sampler import Bounds, Drawn, SamplerPlan
from evolvent.records import Completion, Prompt, Sampling

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from evolvent.models.layout import Layout
    from evolvent.models.render import Renderer
    from evolvent.policies.decode import Engine
    from evolvent.policies.local import LocalPolicy


class SampledElsewhere:
    """Weights of our own that another engine samples; everything but sampling is the local policy's."""

    def __init__(self, local: LocalPolicy, plan: SamplerPlan) -> None:
        self.local, self.bounds = local, plan.bounds
        self.sampler = plan.begin(local)
        self.max_context = min(local.max_context, self.sampler.max_context)
        self.numbers: dict[str, float] = {}
        self._sync_s = 0.0
        self._mark = ""
        self._held: tuple[int, ...] = ()
        self._reading: canary.Reading | None = None
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    async def sample(self, prompts: Sequence[Prompt], how: Sampling) -> list[Completion]:
        """One completion per prompt, by the engine, from the weights as they are now."""
        call_ids = self.local.open_calls(prompts, how)
        await self._settle()
        drawn = await self.sampler.draw(prompts, how, self.local.renderer.stop_ids)
        self._check_marks({d.mark for d in drawn})
        rows = await self._with_model(prompts, drawn)
        made = zip(prompts, call_ids, rows, drawn, strict=True)
        return [self.local.completion(p, c, r, d.met_stop, self.sampler.name) for p, c, r, d in made]

    async def _settle(self) -> None:
        """Hand the weights over where they changed since, and prove that they arrived."""
        async with self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            # in-place writes count themselves, so weights that were loaded or adapted are noticed as well
            stamp = (self.version, *(p._version for p in self.local.model.parameters()))
            if stamp == self._held:
                return
            start_s = time.perf_counter()
            self._mark = f"{self.name}@{self.version}.{secrets.token_hex(4)}"  # two runs at one engine must differ
            await self.sampler.take(self.local, self._mark)
            reading, marks = await canary.read(self.local, self.sampler)
            self._check_marks(marks)
            bound = self.bounds.gap(self.sampler.dtype, str(self.local.model.dtype))
            if why := canary.judge(reading, self._reading, bound):
                canary.refuse(why, self.sampler, self.name)
            self._held, self._reading = stamp, reading
            self.numbers["canary_gap"] = reading.gap
            self._sync_s += time.perf_counter() - start_s

    def _check_marks(self, marks: set[str]) -> None:
        """What was written with other weights is refused, whether by a restart or by another run's weights."""
        odd = sorted(marks - {self._mark})
        if odd:
            self._held = ()
            canary.refuse(f"answers marked {odd[0]!r} in place of {self._mark!r}", self.sampler, self.name)

    async def _with_model(self, prompts: Sequence[Prompt], drawn: Sequence[Drawn]) -> list[Draws]:
        """Both log-probabilities of each draw; where the engine said one kind, it reads its words once more."""
        lacking = [i for i, d in enumerate(drawn) if d.model is None and d.tokens]
        rows = [[*(prompts[i].tokens or ()), *drawn[i].tokens] for i in lacking]
        scored = dict(zip(lacking, await self.sampler.score(rows) if rows else (), strict=True))
        found = [d.model or scored.get(i, ())[-len(d.tokens) :] for i, d in enumerate(drawn)]
        return [Draws(list(d.tokens), list(d.sampled), list(m)) for d, m in zip(drawn, found, strict=True)]

    def take_seconds(self) -> dict[str, float]:
        """Seconds spent on handing weights over since this was asked last."""
        spent_s, self._sync_s = self._sync_s, 0.0
        return {"sync_s": spent_s} if spent_s else {}

    def close(self) -> None:
        """Let the engine go; the weights stay."""
        self.sampler.close()

    # ------------------------------------------------------------ what the local policy does

    @property
    def name(self) -> str:
        """What seats and records call it."""
        return self.local.name

    @property
    def version(self) -> int:
        """How often the weights were updated."""
        return self.local.version

    @version.setter
    def version(self, number: int) -> None:
        self.local.version = number

    @property
    def model(self) -> Any:
        """The weights."""
        return self.local.model

    @property
    def tokenizer(self) -> Any:
        """The tokenizer."""
        return self.local.tokenizer

    @property
    def renderer(self) -> Renderer:
        """Messages to token ids and back."""
        return self.local.renderer

    @property
    def engine(self) -> Engine:
        """What computes log-probabilities for training."""
        return self.local.engine

    @property
    def pad_id(self) -> int:
        """What fills rows up."""
        return self.local.pad_id

    @property
    def shares_starts(self) -> bool:
        """Whether rows that begin alike cost less together."""
        return self.local.shares_starts

    def lay_out(self, token_BT: np.ndarray, mask_BT: np.ndarray) -> Layout:
        """Rows in the form that `logprobs` reads."""
        return self.local.lay_out(token_BT, mask_BT)

    def logprobs(self, layout: Layout, *, entropy_grad: bool = False, mixed: float = 0.0) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy of the predicted tokens, by the weights that are trained."""
        return self.local.logprobs(layout, entropy_grad=entropy_grad, mixed=mixed)

    def guesses(self, layout: Layout) -> Tensor:
        """The likeliest token of each prediction."""
        return self.local.guesses(layout)

    def parameters(self) -> list[torch.nn.Parameter]:
        """The weights that an optimizer may change."""
        return self.local.parameters()

    def named_parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        """The same, with their names."""
        return self.local.named_parameters()

    def updated(self) -> None:
        """Say that the weights have changed."""
        self.local.updated()

    def forget(self) -> None:
        """Drop what the local engine keeps; the other one is told when the weights change."""
        self.local.forget()

    def copy(self) -> LocalPolicy:
        """The same weights apart, for a reference that does not learn: local, since nobody samples it."""
        return self.local.copy()

    def take_weights(self, other: Any) -> None:
        """Become a copy of another policy of the same shape."""
        self.local.take_weights(other)

    def load_weights(self, folder: Path) -> None:
        """Put the weights of a saved folder into this model."""
        self.local.load_weights(folder)

    def save(self, folder: Path) -> None:
        """Write a Hugging Face folder."""
        self.local.save(folder)


def bounds_of(policy: Any) -> Bounds | None:
    """How far the engine of a policy may be off; None where the weights sample themselves."""
    return policy.bounds if isinstance(policy, SampledElsewhere) else None
