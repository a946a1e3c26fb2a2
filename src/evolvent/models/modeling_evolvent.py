"""A Qwen3 causal language model whose position, attention, feed-forward and norm are slots.

It needs torch and transformers only, and is copied beside the weights, where
`from_pretrained(folder, trust_remote_code=True)` finds it.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Qwen3Config, Qwen3ForCausalLM
from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention, Qwen3MLP, Qwen3RMSNorm, Qwen3RotaryEmbedding

MARK = "# ---- parts that were saved along"


class EvolventConfig(Qwen3Config):  # type: ignore[misc]
    """Qwen3's numbers and the part in each slot: a built-in name, or `module:Class`."""

    model_type = "evolvent"
    position: str = "rope"
    attention: str = "full"
    feedforward: str = "swiglu"
    norm: str = "rms"


class NoPosition(nn.Module):
    """No rotation at all: order is known from the causal mask alone (arXiv:2305.19466)."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.head_dim = config.head_dim

    def forward(self, x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine 1 and sine 0 for every position."""
        ones = x.new_ones(*position_ids.shape, self.head_dim)
        return ones, torch.zeros_like(ones)


class SquaredReLU(nn.Module):
    """relu(x U)^2 D, as many weights as the gated form (arXiv:2109.08668)."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        inner = config.intermediate_size * 3 // 2
        self.up_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.down_proj = nn.Linear(inner, config.hidden_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block's addition to the residual stream."""
        out: torch.Tensor = self.down_proj(torch.relu(self.up_proj(x)).square())
        return out


def layer_norm(width: int, eps: float) -> nn.Module:
    """Mean and variance norm without bias."""
    return nn.LayerNorm(width, eps=eps, bias=False)


BUILT_IN = {
    "position": {"rope": Qwen3RotaryEmbedding, "none": NoPosition},
    "attention": {"full": Qwen3Attention, "window": Qwen3Attention},
    "feedforward": {"swiglu": Qwen3MLP, "relu2": SquaredReLU},
    "norm": {"rms": Qwen3RMSNorm, "layer": layer_norm},
}
SAVED_ALONG: dict[str, Any] = {}
"""The user's own parts by import path; filled at the end of a copy that lies beside weights."""


def find_part(slot: str, name: str) -> Any:
    """What makes the part: position(config), attention(config, layer), feedforward(config), norm(width, eps)."""
    if name in BUILT_IN[slot]:
        return BUILT_IN[slot][name]
    if name in SAVED_ALONG:
        return SAVED_ALONG[name]
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


class EvolventForCausalLM(Qwen3ForCausalLM):  # type: ignore[misc]
    """Qwen3 with the parts that its configuration names."""

    config_class = EvolventConfig
    config: EvolventConfig

    def __init__(self, config: EvolventConfig) -> None:
        super().__init__(config)
        norm, feedforward = find_part("norm", config.norm), find_part("feedforward", config.feedforward)
        attention = find_part("attention", config.attention)
        self.model.rotary_emb = find_part("position", config.position)(config)
        self.model.norm = norm(config.hidden_size, config.rms_norm_eps)
        for number, layer in enumerate(self.model.layers):
            layer.self_attn = attention(config, number)
            layer.mlp = feedforward(config)
            layer.input_layernorm = norm(config.hidden_size, config.rms_norm_eps)
            layer.post_attention_layernorm = norm(config.hidden_size, config.rms_norm_eps)
        self.post_init()

    def save_pretrained(self, save_directory: Any, **how: Any) -> None:
        """Weights and configuration as always, and beside them this file and the user's parts."""
        stem = Path(__file__).stem
        self.config.auto_map = {
            "AutoConfig": f"{stem}.EvolventConfig",
            "AutoModelForCausalLM": f"{stem}.EvolventForCausalLM",
        }
        super().save_pretrained(save_directory, **how)
        _save_code(self.config, Path(save_directory))


def _save_code(config: EvolventConfig, folder: Path) -> None:
    source = Path(__file__).read_text("utf-8").partition(f"\n\n{MARK}")[0].rstrip()
    lines = [f"\n\n\n{MARK}"]
    for slot, known in BUILT_IN.items():
        name = getattr(config, slot)
        if name in known:
            continue
        part = find_part(slot, name)
        code = Path(str(inspect.getsourcefile(part))).read_text("utf-8")
        (folder / f"part_{slot}.py").write_text(code, "utf-8")
        lines += [f"from .part_{slot} import {part.__name__} as _{slot}", f'SAVED_ALONG["{name}"] = _{slot}']
    text = source + ("\n".join(lines) if len(lines) > 1 else "") + "\n"
    (folder / Path(__file__).name).write_text(text, "utf-8")
