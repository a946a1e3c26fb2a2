"""One dial to a small model: depth fixes width, heads and feed-forward, and `build` draws the first weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evolvent.errors import BadInput, nearest

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

HEAD_DIM = 32
ROPE_THETA = 10_000.0
SLOTS = {
    "position": ("rope", "none"),
    "attention": ("full", "window"),
    "feedforward": ("swiglu", "relu2"),
    "norm": ("rms", "layer"),
}
"""The built-in parts of each slot, the standard one first."""


@dataclass(frozen=True)
class ModelSpec:
    """A decoder-only model: `depth` layers, and a named part in each slot (a built-in, or `module:Class`).

    `vocab_size` None means bytes and special tokens only; a number asks for a learned byte-level BPE.
    """

    depth: int
    max_context: int = 512
    vocab_size: int | None = None
    position: str = "rope"
    attention: str = "full"
    feedforward: str = "swiglu"
    norm: str = "rms"

    def __post_init__(self) -> None:
        for name in ("depth", "max_context"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise BadInput(f"ModelSpec.{name} is not a positive whole number", got=repr(value), wanted=">= 1")
        for slot, known in SLOTS.items():
            part = getattr(self, slot)
            if part not in known and ":" not in part:
                raise BadInput(
                    f"no {slot} part called {part!r}",
                    where=f"ModelSpec.{slot}",
                    got=part,
                    wanted=f"{' | '.join(known)}, or an import path module:Class",
                    cure=nearest(part, list(known)),
                )

    @property
    def width(self) -> int:
        """Length of the residual stream."""
        return HEAD_DIM * self.depth

    @property
    def num_heads(self) -> int:
        """Attention heads, each with its own keys and values."""
        return self.depth

    @property
    def feedforward_width(self) -> int:
        """8/3 of the width, rounded up to a multiple of 32 (three matrices cost as much as two of 4x the width)."""
        return 32 * -(-8 * self.width // 96)

    @property
    def window(self) -> int:
        """How many positions `attention="window"` sees, its own included."""
        return max(16, self.max_context // 4)

    @property
    def parts(self) -> dict[str, str]:
        """The part in each slot."""
        return {slot: getattr(self, slot) for slot in SLOTS}

    @property
    def is_standard(self) -> bool:
        """Whether transformers' own Qwen3 classes are this model."""
        return all(part == SLOTS[slot][0] for slot, part in self.parts.items())


NANO = ModelSpec(depth=3)
"""The smallest model that learns to use a tool: about 0.3M weights."""


def build(spec: ModelSpec, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """A float32 model with random weights that depend on (spec, tokenizer size, seed) alone."""
    shape = _shape(spec, tokenizer)
    with own_generator(seed):
        if spec.is_standard:
            from transformers import Qwen3Config, Qwen3ForCausalLM

            model = Qwen3ForCausalLM(Qwen3Config(**shape))
        else:
            from evolvent.models.variants import build_variant

            model = build_variant(spec.parts, spec.window, shape)
        _shrink_writers(model, spec.depth)
    model.eval()
    return model


def num_weights(model: Any) -> int:
    """How many numbers the model holds, tied ones counted once."""
    return sum(weight.numel() for weight in model.parameters())


def _shape(spec: ModelSpec, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": spec.width,
        "intermediate_size": spec.feedforward_width,
        "num_hidden_layers": spec.depth,
        "num_attention_heads": spec.num_heads,
        "num_key_value_heads": spec.num_heads,
        "head_dim": HEAD_DIM,
        "max_position_embeddings": spec.max_context,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_THETA},
        "tie_word_embeddings": True,
        "initializer_range": 0.02,  # GPT-2; transformers' own default
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "dtype": "float32",
    }


def _shrink_writers(model: Any, depth: int) -> None:
    # GPT-2: the 2 * depth matrices that write to the residual stream start smaller, so its variance does not grow
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.mul_(1 / math.sqrt(2 * depth))


@contextmanager
def own_generator(seed: int) -> Iterator[None]:
    """Within it torch draws from `seed` on the CPU; outside nothing has changed."""
    # only the CPU generator is touched: torch.manual_seed would reseed every accelerator as well
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed % 2**63)
        yield
