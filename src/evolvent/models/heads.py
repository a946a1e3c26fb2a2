"""Heads on a causal language model's last hidden state: a value per token, and one unit vector per text."""

# B rows, T tokens, W width
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from evolvent.errors import BadInput
from evolvent.models import fast

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HEAD_FILE = "scalar_head.safetensors"


class ScalarModel(torch.nn.Module):
    """(tokens_BT, lengths_B or None) -> float32 values (B, T), all zero at first."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.head = torch.nn.Linear(model.config.get_text_config().hidden_size, 1, device=model.device)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """One value per token, from what the model has read up to it."""
        hidden_BTW = last_hidden(self.model, tokens_BT, lengths_B)
        values_BT: Tensor = self.head(hidden_BTW.float())[..., 0]
        return values_BT


def with_scalar_head(model: Any) -> ScalarModel:
    """A critic or reward model on top of any causal language model; both parts train together."""
    return ScalarModel(model)


def save_scalar(scalar: ScalarModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """A checkpoint folder of the model, with the head in a file of its own beside the weights."""
    from evolvent.models.checkpoints import save

    save(scalar.model, tokenizer, folder, extra={HEAD_FILE: dict(scalar.head.state_dict())})


def load_scalar(folder: Path, dtype: str = "float32", device: str = "auto") -> tuple[ScalarModel, Any]:
    """The module and tokenizer that `save_scalar` wrote."""
    from safetensors.torch import load_file

    from evolvent.models.checkpoints import load

    if not (folder / HEAD_FILE).is_file():
        raise BadInput(
            "this checkpoint has no scalar head",
            where=str(folder),
            wanted=HEAD_FILE,
            cure="load the model with `load`, then put `with_scalar_head` on it",
        )
    model, tokenizer = load(str(folder), dtype, device)
    scalar = with_scalar_head(model)
    scalar.head.load_state_dict(load_file(folder / HEAD_FILE, device=str(model.device)))
    return scalar, tokenizer


def pooled_embedding(model: Any, tokens_BT: Tensor, lengths_B: Tensor) -> Tensor:
    """Mean of the last hidden states over each row's own tokens, as unit vectors (B, W) in float32."""
    with torch.no_grad():
        hidden_BTW = last_hidden(model, tokens_BT, lengths_B).float()
        is_own_BT = torch.arange(tokens_BT.shape[1], device=tokens_BT.device) < lengths_B[:, None]
        total_BW = torch.where(is_own_BT[..., None], hidden_BTW, 0.0).sum(1)
        return torch.nn.functional.normalize(total_BW, dim=-1)  # the unit vector of the sum is that of the mean


def last_hidden(model: Any, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
    """Last hidden states (B, T, W) after the final norm, with gradient; rows are padded on the right."""
    if fast.supports(model):
        return fast.hidden(fast.FastWeights(model), tokens_BT)
    mask_BT = None
    if lengths_B is not None:
        mask_BT = (torch.arange(tokens_BT.shape[1], device=tokens_BT.device) < lengths_B[:, None]).long()
    output = model.get_decoder()(input_ids=tokens_BT, attention_mask=mask_BT, use_cache=False)
    hidden_BTW: Tensor = output.last_hidden_state
    return hidden_BTW
