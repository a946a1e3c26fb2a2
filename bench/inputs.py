"""What both sides get: one model file made at random, the same prompts, the same seeds, the same lengths."""

from __future__ import annotations

import atexit
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SIZES = {"0.3M": 3, "3M": 6, "10M": 9}  # name -> depth
TAIL_MEDIAN, TAIL_SIGMA = 0.25, 0.8  # of the longest; log-normal, so a twentieth of the rows runs to the end


def model_folder(size: str, max_context: int = 512) -> Path:
    """A random Qwen3 saved to disk in float32."""
    from evolvent.models import checkpoints
    from evolvent.models.spec import ModelSpec, build
    from evolvent.models.tokenizer import build_tokenizer

    tokenizer = build_tokenizer()
    folder = scratch() / "model"
    checkpoints.save(build(ModelSpec(depth=SIZES[size], max_context=max_context), tokenizer, 0), tokenizer, folder)
    return folder


def scratch() -> Path:
    """A folder that goes when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def peer_model(folder: Path, dtype: str, device: str = "cpu") -> Any:
    """The same file through plain transformers."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).to(device).eval()


def our_policy(folder: Path, dtype: str, device: str = "cpu") -> Any:
    """The same file through LocalPolicy; nothing ends a row but its prescribed length."""
    from evolvent.models import checkpoints
    from evolvent.policies.local import LocalPolicy

    policy = LocalPolicy(*checkpoints.load(str(folder), dtype=dtype, device=device))
    policy.renderer.stop_ids = frozenset()
    return policy


def prompts(num: int, shortest: int, longest: int, seed: int = 0) -> list[list[int]]:
    """Token ids of `num` prompts; lengths drawn evenly, printable bytes at random."""
    rng = random.Random(seed)
    return [[rng.randrange(32, 127) for _ in range(rng.randint(shortest, longest))] for _ in range(num)]


def lengths(kind: str, num: int, longest: int, seed: int = 0) -> list[int]:
    """How many tokens each completion has: `fixed` is `longest` for all, `real` a long tail that is cut there."""
    if kind == "fixed":
        return [longest] * num
    rng = random.Random(f"lengths {seed}")
    drawn = [round(TAIL_MEDIAN * longest * rng.lognormvariate(0, TAIL_SIGMA)) for _ in range(num)]
    return [max(2, min(longest, n)) for n in drawn]


def prescribed(row_lengths: Sequence[int], start: int, end_id: int, device: str = "cpu") -> Callable[..., Any]:
    """A logits processor for transformers: row i draws its `end_id` as token row_lengths[i], and never before.

    `start` is the padded length of the prompts. Scores are changed in place: they are a copy that generate made.
    """
    import torch

    ending: dict[int, list[int]] = {}
    for row, length in enumerate(row_lengths):
        ending.setdefault(length, []).append(row)
    row_at = {length: torch.tensor(rows, device=device) for length, rows in ending.items()}

    def processor(token_RT: Any, score_RV: Any) -> Any:
        score_RV[:, end_id] = -torch.inf
        rows = row_at.get(token_RT.shape[1] - start + 1)
        if rows is not None:
            score_RV[rows] = -torch.inf
            score_RV[rows, end_id] = 0.0
        return score_RV

    return processor
