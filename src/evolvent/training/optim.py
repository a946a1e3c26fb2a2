"""Optimizers as frozen data, their live twin, and its state as tensors that go into safetensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evolvent.errors import BadInput

Named = Sequence[tuple[str, torch.nn.Parameter]]
REMEMBERED: dict[Any, set[str]] = {
    torch.optim.AdamW: {"step", "exp_avg", "exp_avg_sq"},
    torch.optim.Muon: {"momentum_buffer"},
}
"""What each optimizer keeps for a weight."""
KEPT_IN_TABLES = ("embed", "lm_head", "wte", "wpe")  # matrices that are looked up rather than multiplied


@dataclass(frozen=True, slots=True)
class Schedule:
    """Linear warm-up, then linear decay to `final_frac` of the peak where `decay_steps` says so."""

    warmup_steps: int = 0
    decay_steps: int = 0
    final_frac: float = 0.0

    def __call__(self, step: int) -> float:
        """The share of the peak learning rate at update `step`, counted from 0."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if not self.decay_steps:
            return 1.0
        done = min(1.0, (step - self.warmup_steps) / max(1, self.decay_steps - self.warmup_steps))
        return 1 - (1 - self.final_frac) * done


@dataclass(frozen=True, slots=True)
class AdamW:
    """Decoupled weight decay, arXiv:1711.05101."""

    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    schedule: Schedule = Schedule()

    def begin(self, named: Named) -> LiveOptimizer:
        """The optimizer at work on these weights."""
        return LiveOptimizer(named, [_adamw(self, [p for _, p in named])], self.schedule, self.max_grad_norm)


@dataclass(frozen=True, slots=True)
class Muon:
    """Orthogonalised momentum for the matrices inside the layers (Jordan 2024), AdamW for everything else.

    On models of a few hundred thousand weights it learns to copy in about a quarter of AdamW's steps (LOG.md).
    """

    lr: float
    rest: AdamW
    momentum: float = 0.95
    weight_decay: float = 0.0

    def begin(self, named: Named) -> LiveOptimizer:
        """The optimizer at work on these weights."""
        inside = [p for n, p in named if p.ndim == 2 and not any(t in n for t in KEPT_IN_TABLES)]
        others = [p for _, p in named if all(p is not q for q in inside)]
        inner: list[Any] = []
        if inside:
            decay = self.weight_decay
            inner.append(torch.optim.Muon(inside, lr=self.lr, momentum=self.momentum, weight_decay=decay))
        if others or not inside:  # an adapter has matrices only
            inner.append(_adamw(self.rest, others))
        return LiveOptimizer(named, inner, self.rest.schedule, self.rest.max_grad_norm)


def _adamw(plan: AdamW, parameters: list[torch.nn.Parameter]) -> torch.optim.AdamW:
    if not parameters:
        raise BadInput(
            "nothing to train", got="no weight that asks for a gradient", cure="unfreeze some, or adapter=lora"
        )
    return torch.optim.AdamW(
        parameters, lr=plan.lr, betas=plan.betas, eps=plan.eps, weight_decay=plan.weight_decay, fused=True
    )


class LiveOptimizer:
    """torch optimizers under one schedule; `state()` and `restore()` carry them over a stop, bit for bit."""

    def __init__(self, named: Named, inner: list[Any], schedule: Schedule, max_grad_norm: float) -> None:
        self.named, self.inner, self.schedule, self.max_grad_norm = list(named), inner, schedule, max_grad_norm
        self.num_updates = 0
        self._peaks = [group["lr"] for optimizer in inner for group in optimizer.param_groups]

    def clip(self) -> float:
        """Scale the gradient down to `max_grad_norm`; returns its norm before that, and leaves the weights alone."""
        return float(torch.nn.utils.clip_grad_norm_([p for _, p in self.named], self.max_grad_norm))

    def step(self) -> float:
        """Change the weights, then forget the gradient; returns the learning rate of the first group."""
        groups = [group for optimizer in self.inner for group in optimizer.param_groups]
        for group, peak in zip(groups, self._peaks, strict=True):
            group["lr"] = peak * self.schedule(self.num_updates)
        for optimizer in self.inner:
            optimizer.step()
        self.clear()
        self.num_updates += 1
        return float(groups[0]["lr"])

    def clear(self) -> None:
        """Forget gradients, keep everything else."""
        for optimizer in self.inner:
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Every number that is remembered, by the name of its weight."""
        kept = {"num_updates": torch.tensor(self.num_updates)}
        for optimizer in self.inner:
            for name, parameter in self.named:
                for key, value in optimizer.state.get(parameter, {}).items():
                    kept[f"{name}/{key}"] = torch.as_tensor(value).detach().cpu().clone()
        return kept

    def restore(self, kept: Mapping[str, Tensor]) -> None:
        """The inverse of `state`; what another model or optimizer remembered is refused before anything changes."""
        remembered: dict[str, dict[str, Tensor]] = {}
        for key, value in kept.items():
            name, _, what = key.rpartition("/")
            if name:
                remembered.setdefault(name, {})[what] = value
        self._check(remembered)
        self.num_updates = int(kept["num_updates"])
        for optimizer in self.inner:
            optimizer.state.clear()
            owned = {p for group in optimizer.param_groups for p in group["params"]}
            for name, parameter in self.named:
                if name in remembered and parameter in owned:
                    # fused steps are counted on the device of the weights
                    mine = {k: v.detach().clone().to(parameter.device) for k, v in remembered[name].items()}
                    optimizer.state[parameter] = mine

    def _check(self, remembered: Mapping[str, Mapping[str, Tensor]]) -> None:
        shapes = {name: tuple(parameter.shape) for name, parameter in self.named}
        wanted = {
            name: REMEMBERED.get(type(optimizer))
            for optimizer in self.inner
            for group in optimizer.param_groups
            for name, parameter in self.named
            if any(parameter is p for p in group["params"])
        }
        for name, mine in remembered.items():
            shape = next((tuple(v.shape) for v in mine.values() if v.ndim), ())
            if name not in shapes or shape not in ((), shapes[name]):
                raise _other("model", name, shape, shapes.get(name, "no weight of this name"))
            if wanted[name] is not None and set(mine) != wanted[name]:
                raise _other("optimizer", name, sorted(mine), sorted(wanted[name] or ()))


def _other(kind: str, name: str, got: object, wanted: object) -> BadInput:
    what, cure = f"the kept optimizer state is of another {kind}", "resume with the plan that wrote it"
    return BadInput(what, where=name, got=got, wanted=wanted, cure=cure)
