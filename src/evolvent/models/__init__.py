"""What thinks: small models of standard architectures from one dial, variants of single parts, heads, checkpoints."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from evolvent.models.spec import NANO, ModelSpec, build, num_weights

if TYPE_CHECKING:
    from evolvent.models.adapters import attach_lora, attach_saved_lora
    from evolvent.models.checkpoints import load, save, verify
    from evolvent.models.devices import checkpoint_gradients, keep_freed_memory, resolve_device, resolve_dtype
    from evolvent.models.fast import FastWeights
    from evolvent.models.folders import check_folder
    from evolvent.models.heads import ScalarModel, load_scalar, pooled_embedding, save_scalar, with_scalar_head
    from evolvent.models.render import Renderer
    from evolvent.models.tokenizer import build_tokenizer

__all__ = [
    "NANO",
    "FastWeights",
    "ModelSpec",
    "Renderer",
    "ScalarModel",
    "attach_lora",
    "attach_saved_lora",
    "build",
    "build_tokenizer",
    "check_folder",
    "checkpoint_gradients",
    "keep_freed_memory",
    "load",
    "load_scalar",
    "num_weights",
    "pooled_embedding",
    "resolve_device",
    "resolve_dtype",
    "save",
    "save_scalar",
    "verify",
    "with_scalar_head",
]

_FILES = {  # these bring torch, so they come when asked for
    "adapters": ("attach_lora", "attach_saved_lora"),
    "checkpoints": ("load", "save", "verify"),
    "devices": ("checkpoint_gradients", "keep_freed_memory", "resolve_device", "resolve_dtype"),
    "fast": ("FastWeights",),
    "folders": ("check_folder",),
    "heads": ("ScalarModel", "load_scalar", "pooled_embedding", "save_scalar", "with_scalar_head"),
    "render": ("Renderer",),
    "tokenizer": ("build_tokenizer",),
}


def __getattr__(name: str) -> Any:
    for file, names in _FILES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{file}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
