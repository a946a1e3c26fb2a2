"""What both sides get: one model file made at random, the same prompts, the same seeds."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

SIZES = {"0.3M": 3, "3M": 6, "10M": 9}  # name -> depth


def model_folder(size: str) -> Path:
    """A random Qwen3 saved to disk in float32."""
    from evolvent.models import checkpoints
    from evolvent.models.spec import ModelSpec, build
    from evolvent.models.tokenizer import build_tokenizer

    tokenizer = build_tokenizer()
    folder = Path(tempfile.mkdtemp(prefix="bench-")) / "model"
    checkpoints.save(build(ModelSpec(depth=SIZES[size]), tokenizer, 0), tokenizer, folder)
    return folder


def peer_model(folder: Path, dtype: str) -> Any:
    """The same file through plain transformers."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()


def our_policy(folder: Path, dtype: str) -> Any:
    """The same file through LocalPolicy."""
    from evolvent.models import checkpoints
    from evolvent.policies.local import LocalPolicy

    return LocalPolicy(*checkpoints.load(str(folder), dtype=dtype, device="cpu"))


def prompts(num: int, shortest: int, longest: int, seed: int = 0) -> list[list[int]]:
    """Token ids of `num` prompts; lengths drawn evenly, bytes at random."""
    rng = random.Random(seed)
    return [[rng.randrange(32, 127) for _ in range(rng.randint(shortest, longest))] for _ in range(num)]


def num_matmul_weights(model: Any) -> int:
    """Weights that every token is multiplied with: all but the embedding table, and the head once."""
    inside = sum(
        p.numel() for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n and "lm_head" not in n
    )
    return inside + model.lm_head.weight.numel()
