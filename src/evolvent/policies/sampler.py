"""What an engine must do that samples weights which are trained elsewhere, and how far it may be off."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from evolvent.errors import BadInput
from evolvent.records import Prompt, Sampling
from evolvent.seeds import derive

if TYPE_CHECKING:
    from torch import Tensor

    from evolvent.policies.local import LocalPolicy


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far an engine may be from the weights that are trained, and what happens to what lies between.

    A token's importance weight is held at `most` (2: Yao et al. 2025, "Your efficient RL framework secretly brings you
    off-policy RL training"). A batch whose divergence passes `max_kl`, in nats a token, is refused: ten times what
    healthy runs of other systems report. `max_gap` bounds mean differences of log-probabilities, in nats; None is 0.002
    where both compute in float32 and 0.2 elsewhere.
    """

    most: float = 2.0
    max_kl: float = 0.01
    max_gap: float | None = None

    def __post_init__(self) -> None:
        if self.most < 1 or self.max_kl <= 0 or (self.max_gap is not None and self.max_gap <= 0):
            raise BadInput(
                "nothing lies within these bounds",
                where="sampler.bounds",
                got=f"most={self.most} max_kl={self.max_kl} max_gap={self.max_gap}",
                wanted="most >= 1, the others above 0",
            )

    def gap(self, *dtypes: str) -> float:
        """How far log-probabilities may be apart in the mean, by the numbers that both sides compute in."""
        if self.max_gap is not None:
            return self.max_gap
        return 2e-3 if all(name.endswith("float32") for name in dtypes) else 0.2


@dataclass(frozen=True, slots=True)
class Drawn:
    """What an engine wrote for one prompt, and the mark of the weights that it wrote with.

    `model` (temperature 1, nothing left out) is None where the engine did not say it.
    """

    tokens: tuple[int, ...]
    sampled: tuple[float, ...]
    model: tuple[float, ...] | None
    mark: str
    met_stop: bool = False


class Sampler(Protocol):
    """An engine at work. It raises InfrastructureError when it is gone, and never answers in part."""

    name: str
    dtype: str
    max_context: int

    async def take(self, source: LocalPolicy, mark: str) -> None:
        """Put these weights in place of its own; what it writes from now on carries `mark`."""
        ...

    async def draw(self, prompts: Sequence[Prompt], how: Sampling, stop_ids: Collection[int]) -> list[Drawn]:
        """One draw per prompt, in order, each from the random stream (how.seed, prompt.stream)."""
        ...

    async def score(self, rows: Sequence[Sequence[int]]) -> list[tuple[float, ...]]:
        """Log-probability at temperature 1 of every token of a row behind its first."""
        ...

    def close(self) -> None:
        """Let go of memory, processes and files."""
        ...


class SamplerPlan(Protocol):
    """How a plan names an engine: frozen data that comes alive beside the weights it is to sample."""

    @property
    def bounds(self) -> Bounds:
        """How far it may be off."""
        ...

    def begin(self, source: LocalPolicy) -> Sampler:
        """The engine at work."""
        ...


def seed_of(prompt: Prompt, how: Sampling) -> int:
    """The seed of one completion, for engines that take a number."""
    return derive(how.seed, *prompt.stream) % 2**31


def both_kinds(logprobs: tuple[float, ...], how: Sampling) -> tuple[tuple[float, ...], tuple[float, ...] | None]:
    """(sampled, model) from log-probabilities after temperature and truncation; greedy ones are those of the model."""
    whole = how.top_p == 1 and how.top_k == 0
    if how.temperature == 0:
        return (0.0,) * len(logprobs), logprobs if whole else None
    return logprobs, logprobs if whole and how.temperature == 1 else None


def plain_weights(source: LocalPolicy) -> dict[str, Tensor]:
    """The weights by the names that plain transformers gives them; an adapter is merged into a copy."""
    model: Any = source.model
    if hasattr(model, "peft_config"):
        model = copy.deepcopy(model).merge_and_unload()
    return {name: weight.detach() for name, weight in model.state_dict().items()}
