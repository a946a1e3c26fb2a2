"""Where a model lives and in which numbers: names to devices and types, and how much memory it may take."""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING, Any

from evolvent.errors import BadInput

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16")


def resolve_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" is the first GPU, else Apple's, else the CPU."""
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BadInput(
            f"device {name!r} cannot be used here",
            where="device",
            got=str(error).splitlines()[0],
            wanted="auto, cpu, cuda, cuda:0 or mps",
            cure="device=auto takes what is there",
        ) from error
    return device


def resolve_dtype(name: str, device: Any = "cpu") -> torch.dtype:
    """The number type of that name; "auto" is bfloat16 on a GPU that has it and float32 elsewhere."""
    import torch

    if name == "auto":
        on_gpu = torch.device(device).type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if on_gpu else torch.float32
    if name not in DTYPES:
        raise BadInput(f"no number type {name!r}", where="dtype", got=name, wanted=f"auto, {', '.join(DTYPES)}")
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def checkpoint_gradients(model: Any) -> None:
    """Recompute each layer in the backward pass instead of keeping its activations."""
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def keep_freed_memory() -> bool:
    """Tell glibc to reuse large freed blocks instead of returning them; fewer page faults, faster CPU training.

    A process-wide setting for programs, not for libraries that import us; False where it does not apply.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD of malloc.h
    return bool(mallopt(mmap_threshold, 1 << 30)) and bool(mallopt(trim_threshold, (1 << 31) - 1))
