"""The least arithmetic that a piece of work needs: weight products and attention of every token that must be read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shape:
    """What the products of a model depend on: weights inside the layers, weights of the head, layers, attention width.

    Products are 2 FLOP per weight and token, attention 4 per layer, width and pair of positions (scores and values).
    """

    inside: int
    head: int
    layers: int
    width: int

    @classmethod
    def of(cls, model: Any) -> Shape:
        """The shape of a transformers model."""
        named = list(model.named_parameters())
        inside = sum(p.numel() for n, p in named if p.ndim == 2 and "embed" not in n and "lm_head" not in n)
        config = model.config
        width = config.num_attention_heads * config.head_dim
        return cls(inside, model.lm_head.weight.numel(), config.num_hidden_layers, width)

    def forward(self, start: int, stop: int, scored: int) -> float:
        """Reading tokens `start` to `stop` of a row, with `scored` of them turned into scores of the vocabulary."""
        pairs = (stop * (stop + 1) - start * (start + 1)) / 2
        return 2.0 * (self.inside * (stop - start) + self.head * scored) + 4.0 * self.layers * self.width * pairs


def sampling_flops(shape: Shape, prompts: Sequence[Sequence[int]], row_lengths: Sequence[int]) -> float:
    """Prompts read once per group; of a completion all tokens but the last are read, and each one needs scores."""
    group = len(row_lengths) // len(prompts)
    total = 0.0
    for i, prompt in enumerate(prompts):
        total += shape.forward(0, len(prompt), 1)
        for length in row_lengths[i * group : (i + 1) * group]:
            total += shape.forward(len(prompt), len(prompt) + length - 1, length - 1)
    return total


def training_flops(shape: Shape, groups: Iterable[tuple[int, Sequence[int]]]) -> float:
    """Forward and twice that backward, for groups given as (tokens of the prompt, trained tokens of every row).

    The prompt is read once per group; of a completion the last token is not read, and each one needs scores.
    """
    total = 0.0
    for start, trained in groups:
        total += shape.forward(0, start, 1) + sum(shape.forward(start, start + n - 1, n - 1) for n in trained)
    return 3 * total
