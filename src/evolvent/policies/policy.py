"""The one door to anything that can be sampled, and the further things a policy may be able to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from evolvent.records import Completion, Prompt, Sampling

if TYPE_CHECKING:
    from pathlib import Path


@runtime_checkable
class Policy(Protocol):
    """Anything that can be sampled: local weights, an endpoint, a script, a router over others."""

    @property
    def name(self) -> str:
        """What seats and records call it."""
        ...

    async def sample(self, prompts: Sequence[Prompt], how: Sampling) -> list[Completion]:
        """One completion per prompt, in order."""
        ...


@runtime_checkable
class Trainable(Protocol):
    """A policy with weights that an update can change."""

    version: int

    @property
    def shares_starts(self) -> bool:
        """Whether rows that begin alike cost less together."""
        ...

    def lay_out(self, token_BT: Any, mask_BT: Any) -> Any:
        """Rows in the form that `logprobs` reads, to predict the tokens where the mask is True."""
        ...

    def logprobs(self, layout: Any) -> tuple[Any, Any]:
        """Log-probability and entropy of the predicted tokens, with gradient (see training.update)."""
        ...

    def parameters(self) -> list[Any]:
        """The weights that an optimizer may change."""
        ...

    def updated(self) -> None:
        """Say that the weights have changed."""
        ...

    def save(self, folder: Path) -> None:
        """Write a Hugging Face folder."""
        ...
