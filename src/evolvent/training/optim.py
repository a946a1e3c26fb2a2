"""The optimizer as frozen data, its live twin, and its state as tensors that go into safetensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class AdamW:
    """Decoupled weight decay (arXiv:1711.05101) with linear warm-up and optional linear decay to `final_frac`."""

    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    warmup_steps: int = 0
    decay_steps: int = 0
    final_frac: float = 0.0

    def rate(self, step: int) -> float:
        """The learning rate of update `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / self.warmup_steps
        if not self.decay_steps:
            return self.lr
        done = min(1.0, (step - self.warmup_steps) / max(1, self.decay_steps - self.warmup_steps))
        return self.lr * (1 - (1 - self.final_frac) * done)

    def begin(self, parameters: Sequence[torch.nn.Parameter]) -> LiveAdamW:
        """The optimizer at work on these weights."""
        return LiveAdamW(self, parameters)


class LiveAdamW:
    """torch's AdamW with a schedule; `state()` and `restore()` carry it over a stop, bit for bit."""

    def __init__(self, plan: AdamW, parameters: Sequence[torch.nn.Parameter]) -> None:
        self.plan, self.parameters, self.num_updates = plan, list(parameters), 0
        self._inner = torch.optim.AdamW(
            self.parameters, lr=plan.lr, betas=plan.betas, eps=plan.eps, weight_decay=plan.weight_decay, fused=True
        )

    def apply(self) -> tuple[float, float]:
        """Clip, step, clear; returns (gradient norm before clipping, learning rate)."""
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.plan.max_grad_norm))
        rate = self.plan.rate(self.num_updates)
        for group in self._inner.param_groups:
            group["lr"] = rate
        self._inner.step()
        self._inner.zero_grad(set_to_none=True)
        self.num_updates += 1
        return norm, rate

    def clear(self) -> None:
        """Forget gradients, keep everything else."""
        self._inner.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Every number the optimizer remembers, by name."""
        kept = {"num_updates": torch.tensor(self.num_updates)}
        for i, parameter in enumerate(self.parameters):
            for name, value in self._inner.state.get(parameter, {}).items():
                kept[f"{i}.{name}"] = torch.as_tensor(value).clone()
        return kept

    def restore(self, kept: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        self.num_updates = int(kept["num_updates"])
        for i, parameter in enumerate(self.parameters):
            mine = {k.split(".", 1)[1]: v.clone() for k, v in kept.items() if k.startswith(f"{i}.")}
            if mine:
                self._inner.state[parameter] = mine
