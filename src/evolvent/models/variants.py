"""Part slots: a model whose position, attention, feed-forward or norm is a variant, saved together with its code.

A slot takes a built-in name (`spec.SLOTS`) or the import path of your own class in a file that needs only torch and
transformers. Your class is called as position(config) -> cos, sin from (x, position_ids); attention(config, layer),
called like Qwen3Attention; feedforward(config); norm(width, eps).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evolvent.codec import locate
from evolvent.errors import BadInput
from evolvent.models.spec import SLOTS

MODEL_TYPE = "evolvent"


def build_variant(parts: Mapping[str, str], window: int, shape: Mapping[str, Any]) -> Any:
    """A model of Qwen3's frame (`shape` are its numbers) with these parts; random weights from torch's generator."""
    from evolvent.models.modeling_evolvent import EvolventConfig, EvolventForCausalLM

    for slot, name in parts.items():
        if name not in SLOTS[slot]:
            _check_savable(slot, name)
    if parts["attention"] == "window":
        shape = {**shape, "use_sliding_window": True, "sliding_window": window, "max_window_layers": 0}
    return EvolventForCausalLM(EvolventConfig(**shape, **parts))


def _check_savable(slot: str, name: str) -> None:
    from torch.nn import Module

    part = locate(name)
    if not isinstance(part, type) or not issubclass(part, Module):
        raise BadInput(f"{name} is no {slot} part", got=repr(part)[:80], wanted="a class made from torch.nn.Module")
    if part.__module__ == "__main__" or not Path(inspect.getsourcefile(part) or "").is_file():
        raise BadInput(
            f"the {slot} part {name} cannot be saved beside the weights",
            got=f"a class of {part.__module__}, which has no file to copy",
            wanted="a class at the top level of an importable module",
            cure="move it to a file of its own that imports only torch and transformers",
        )
