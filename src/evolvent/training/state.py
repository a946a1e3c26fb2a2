"""What a run remembers between steps, as files: weights, optimizers, and the parts that learn about tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evolvent.errors import BadInput, EvolventError, StoreError
from evolvent.training.optim import LiveOptimizer


def save_state(
    folder: Path,
    policies: Mapping[str, Any],
    optimizers: Mapping[str, LiveOptimizer],
    references: Mapping[str, Any],
    memory: Mapping[str, Any],
) -> None:
    """A folder per policy that plain transformers loads, and `state/` with all that a later step depends on."""
    from safetensors.torch import save_file

    state = folder / "state"
    state.mkdir(parents=True)
    versions = {name: policy.version for name, policy in policies.items()}
    for name, policy in policies.items():
        policy.save(folder / name)
        if _is_adapted(policy):
            save_file(_weights(policy), str(state / f"{name}.adapter.safetensors"))
    for name, optimizer in optimizers.items():
        save_file(optimizer.state(), str(state / f"{name}.optimizer.safetensors"))
    for name, reference in references.items():
        save_file(_weights(reference), str(state / f"{name}.reference.safetensors"))
    (state / "memory.json").write_text(json.dumps({"versions": versions, **memory}, indent=1, sort_keys=True))


def load_state(
    folder: Path,
    policies: Mapping[str, Any],
    optimizers: Mapping[str, LiveOptimizer],
    references: Mapping[str, Any],
) -> dict[str, Any]:
    """Put weights and optimizers back as they were, bit for bit; returns the rest of the memory."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    state = folder / "state"
    try:
        memory: dict[str, Any] = json.loads((state / "memory.json").read_text())
        for name, policy in policies.items():
            _load_weights(policy, folder, name)
            policy.version = memory["versions"][name]
        for name, optimizer in optimizers.items():
            optimizer.restore(load_file(str(state / f"{name}.optimizer.safetensors")))
        for name, reference in references.items():
            _put(reference, load_file(str(state / f"{name}.reference.safetensors")))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise StoreError(
            "the checkpoint cannot be read",
            where=str(folder),
            got=f"{type(error).__name__}: {_told(error)}",
            wanted="a whole checkpoint",
            cure=f"delete {folder} and resume again: the run goes on from the checkpoint before it",
        ) from error
    return memory


def _load_weights(policy: Any, folder: Path, name: str) -> None:
    from safetensors.torch import load_file

    if not _is_adapted(policy):
        policy.load_weights(folder / name)
        return
    _put(policy, load_file(str(folder / "state" / f"{name}.adapter.safetensors")))


def _put(policy: Any, kept: Mapping[str, Any]) -> None:
    """Load `kept` into the weights that `_weights` names, all of them and no others."""
    odd = sorted(set(kept) ^ set(_weights(policy)))
    if odd:
        raise BadInput("the kept weights are of another model", got=f"{len(odd)} names on one side only: {odd[0]}")
    policy.model.load_state_dict(dict(kept), strict=False)
    policy.forget()


def _told(error: Exception) -> str:
    """What an error says, on one line; of our own what, where and got."""
    if isinstance(error, EvolventError):
        return "; ".join(str(part) for part in (error.what, error.where, error.got) if part)
    return str(error).splitlines()[0] if str(error) else "no more is known"


def _is_adapted(policy: Any) -> bool:
    return hasattr(policy.model, "peft_config")


def _weights(policy: Any) -> dict[str, Any]:
    """The adapter's weights of an adapted model, all weights of another; tied ones once."""
    adapted = _is_adapted(policy)
    return {n: p.detach().cpu().clone() for n, p in policy.model.named_parameters() if "lora_" in n or not adapted}
