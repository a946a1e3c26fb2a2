"""The weights of a Qwen3 or Llama model in the shape that the fast path reads, always those of the live model."""

# H heads, K heads with keys, D head size, P positions
from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from evolvent.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

CLASSES = (
    "transformers.models.qwen3.modeling_qwen3:Qwen3ForCausalLM",
    "transformers.models.llama.modeling_llama:LlamaForCausalLM",
)
ROPE_TYPES = ("default", "linear", "llama3", "yarn")  # frequencies that do not change with the length of the text
MAX_WEIGHTS = 400_000_000  # beyond this arithmetic dominates, and a second copy of the weights costs more than it saves


def supports(model: Any) -> bool:
    """Whether the fast path computes what this model's own forward computes."""
    return why_not(model) == ""


def why_not(model: Any) -> str:
    """The reason for which a model takes the generic path; empty where the fast path serves it."""
    kind = f"{type(model).__module__}:{type(model).__qualname__}"
    if kind not in CLASSES:
        return f"{type(model).__qualname__} is not one of {', '.join(c.partition(':')[2] for c in CLASSES)}"
    config = model.config
    if any(t != "full_attention" for t in getattr(config, "layer_types", None) or ()):
        return "it has layers without full attention"
    if config.hidden_act not in ("silu", "swish"):
        return f"its activation is {config.hidden_act}"
    if config.attention_dropout:
        return "it has attention dropout"
    if config.rope_parameters.get("rope_type", "default") not in ROPE_TYPES:
        return f"its rotary positions are {config.rope_parameters['rope_type']}"
    if model.dtype not in (torch.float32, torch.bfloat16) or len({p.dtype for p in model.parameters()}) > 1:
        return f"its weights are not all float32 or all bfloat16 but {model.dtype}"
    if any(type(m) is not torch.nn.Linear for n, m in model.named_modules() if n.endswith(("_proj", "lm_head"))):
        return "its linear layers are adapted or quantised"
    if sum(p.numel() for p in model.parameters()) > MAX_WEIGHTS:
        return f"it has more than {MAX_WEIGHTS:,} weights"
    return ""


class Layer(NamedTuple):
    """One layer's weights, fused; rows of queries and keys are interleaved so that rotation is one complex product."""

    attention_norm: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    qk_scale: Tensor | None
    out: Tensor
    out_bias: Tensor | None
    feedforward_norm: Tensor
    gate_up: Tensor
    gate_up_bias: Tensor | None
    down: Tensor
    down_bias: Tensor | None


class FastWeights:
    """A live view of a model's weights; nothing is copied until `layers` is called."""

    def __init__(self, model: Any) -> None:
        reason = why_not(model)
        if reason:
            raise BadInput(f"the fast path does not serve this model: {reason}", cure="use the generic path")
        config = model.config
        self.model = model
        self.num_heads: int = config.num_attention_heads
        self.num_kv_heads: int = config.num_key_value_heads
        self.head_dim: int = model.model.layers[0].self_attn.head_dim
        self.eps: float = config.rms_norm_eps
        self._cis_PD = torch.empty(0)

    @property
    def embedding(self) -> Tensor:
        """The table of token vectors."""
        weight: Tensor = self.model.model.embed_tokens.weight
        return weight

    @property
    def final_norm(self) -> Tensor:
        """The scale of the last norm."""
        weight: Tensor = self.model.model.norm.weight
        return weight

    def layers(self) -> list[Layer]:
        """Fused layers made from the live parameters now, inside the graph of gradients where that is recorded."""
        return [_fuse(layer, self.num_heads, self.num_kv_heads) for layer in self.model.model.layers]

    def rotation(self, positions: Tensor) -> Tensor:
        """e^(i * position * frequency), times the scaling of long contexts: complex numbers (..., H+K, D/2)."""
        longest = int(positions.max()) + 1 if positions.numel() else 1
        if self._cis_PD.shape[0] < longest or self._cis_PD.device != self.embedding.device:
            rope = self.model.model.rotary_emb
            steps_P = torch.arange(max(longest, 2 * self._cis_PD.shape[0], 256), device=rope.inv_freq.device)
            angle_PD = steps_P[:, None].float() * rope.inv_freq.float()
            scale = float(rope.attention_scaling)
            self._cis_PD = torch.complex(angle_PD.cos() * scale, angle_PD.sin() * scale)
        cis = self._cis_PD[positions].unsqueeze(-2)
        return cis.expand(*cis.shape[:-2], self.num_heads + self.num_kv_heads, -1).contiguous()


def _fuse(layer: Any, num_q: int, num_k: int) -> Layer:
    attention, feedforward = layer.self_attn, layer.mlp
    q, k, v = attention.q_proj, attention.k_proj, attention.v_proj
    gate, up, down, out = feedforward.gate_proj, feedforward.up_proj, feedforward.down_proj, attention.o_proj
    if type(q) is not torch.nn.Linear:
        raise BadInput("the model was adapted after its fast weights were made", cure="make new FastWeights, or none")
    scale = None
    if hasattr(attention, "q_norm"):
        q_scale, k_scale = _interleave(attention.q_norm.weight, 1), _interleave(attention.k_norm.weight, 1)
        scale = torch.cat((q_scale.expand(num_q, -1), k_scale.expand(num_k, -1)))
    return Layer(
        attention_norm=layer.input_layernorm.weight,
        qkv=torch.cat((_interleave(q.weight, num_q), _interleave(k.weight, num_k), v.weight)),
        qkv_bias=None
        if q.bias is None
        else torch.cat((_interleave(q.bias, num_q), _interleave(k.bias, num_k), v.bias)),
        qk_scale=scale,
        out=out.weight,
        out_bias=out.bias,
        feedforward_norm=layer.post_attention_layernorm.weight,
        gate_up=torch.cat((gate.weight, up.weight)),
        gate_up_bias=None if gate.bias is None else torch.cat((gate.bias, up.bias)),
        down=down.weight,
        down_bias=down.bias,
    )


def _interleave(weight: Tensor, num_heads: int) -> Tensor:
    # rows j and j + D/2 of a head, which rotate together, become neighbours: the real and imaginary part of one number
    half = weight.shape[0] // (2 * num_heads)
    return weight.view(num_heads, 2, half, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)
