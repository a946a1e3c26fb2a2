"""Low-rank adapters: a few trainable weights beside frozen ones (arXiv:2106.09685), through peft."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evolvent.errors import BadInput, MissingExtra

PEFT_LINE = 'pip install "evolvent[train]"'


def attach_lora(model: Any, rank: int = 8, alpha: int = 16, targets: Sequence[str] | None = None, seed: int = 0) -> Any:
    """The model with fresh adapters on its linear layers (all but the head, or those named); the rest is frozen.

    rank 8 is the paper's, alpha = 2 * rank peft's usual pairing. The model is changed in place.
    """
    _need_peft()
    from peft import LoraConfig, get_peft_model

    from evolvent.models.spec import own_generator

    if rank < 1:
        raise BadInput("an adapter needs a rank of at least 1", where="rank", got=rank)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules="all-linear" if targets is None else list(targets),
        task_type="CAUSAL_LM",
    )
    try:
        with own_generator(seed):
            return get_peft_model(model, config)
    except ValueError as error:
        known = sorted({n.rpartition(".")[2] for n, m in model.named_modules() if type(m).__name__ == "Linear"})
        raise BadInput(
            "no layer to adapt", where="targets", got=", ".join(targets or ()), wanted=", ".join(known)
        ) from error


def attach_saved_lora(model: Any, folder: Path) -> Any:
    """The base model with the adapters that `save` left in `folder` (a checkpoint's `adapter/`), trainable again."""
    _need_peft()
    from peft import PeftModel

    if not (folder / "adapter_config.json").is_file():
        raise BadInput(
            "no adapter here", where=str(folder), wanted="adapter_config.json", cure="give <checkpoint>/adapter"
        )
    return PeftModel.from_pretrained(model, str(folder), is_trainable=True)


def _need_peft() -> None:
    from importlib.util import find_spec

    if find_spec("peft") is None:
        raise MissingExtra("adapter=lora needs peft", cure=PEFT_LINE)
