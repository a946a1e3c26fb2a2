"""The one door to anything that can be sampled, and the further things a policy may be able to do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of decoding drew, live row by live row; a row is the place of its prompt in the call.

    `logits` (rows, vocabulary) is what was drawn from, for whoever wants to see more of it.
    """

    rows: list[int]
    tokens: list[int]
    sampled: list[float]
    model: list[float]
    logits: Any


Watch = Callable[[Step], Collection[int]]
"""Hears every step in the thread that samples, before the next one begins, and says which rows end here."""


@runtime_checkable
class Streams(Protocol):
    """A policy that can be heard while it speaks, and interrupted row by row."""

    def sample_now(self, prompts: Sequence[Prompt], how: Sampling, watch: Watch | None = None) -> list[Completion]:
        """One completion per prompt, in order; rows that the watch ends keep what they have."""
        ...


class Flow(Protocol):
    """Rows that are sampled together though they begin and end one by one."""

    @property
    def num_live(self) -> int:
        """Rows that have begun, or will with the next step, and have not ended."""
        ...

    def admit(self, prompts: Sequence[Prompt], how: Sampling) -> list[int]:
        """Numbers of rows that begin with the next step; BadInput where one of them cannot."""
        ...

    def end(self, rows: Collection[int]) -> None:
        """These rows end with the next step, and nobody hears of them."""
        ...

    def step(self) -> tuple[Step, dict[int, Completion]]:
        """One token for every live row, and the completions of those that end with it."""
        ...


@runtime_checkable
class Flows(Protocol):
    """A policy whose rows need not begin together."""

    def flow(self) -> Flow | None:
        """A flow without rows; None where the engine at work has none."""
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
