"""Proves that an engine samples the weights it was given: the same fixed tokens through the engine and the trainer."""

# T tokens, V vocabulary

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from evolvent.errors import GateFailed
from evolvent.policies.sampler import Drawn, Sampler
from evolvent.records import Prompt, Sampling
from evolvent.seeds import stream

if TYPE_CHECKING:
    from torch import Tensor

    from evolvent.policies.local import LocalPolicy

NUM_FIXED = 320  # longer than two blocks of any engine's cache, so that what it cached before is asked for again
NUM_DRAWN = 16
HEAT = 0.5  # any temperature but 1 shows which kind of log-probability comes back
SEEN = 1e-6  # nats; below that a movement is rounding


@dataclass(frozen=True, slots=True)
class Reading:
    """Log-probabilities of the same tokens by the trainer and by the engine: of fixed ones, and of ones it drew."""

    fixed: tuple[Sequence[float], Sequence[float]]
    greedy: tuple[Sequence[float], Sequence[float]]
    heated: tuple[Sequence[float], Sequence[float]]

    @property
    def gap(self) -> float:
        """The largest of the three mean differences."""
        return max(_mean_gap(*pair) for pair in (self.fixed, self.greedy, self.heated))


async def read(source: LocalPolicy, sampler: Sampler) -> tuple[Reading, set[str]]:
    """Ask both sides; returns what they said, and the marks that the engine's answers carried."""
    row = fixed_row(source, min(sampler.max_context, source.max_context))
    [scored], greedy, heated = await asyncio.gather(
        sampler.score([row]),
        _draw(sampler, row, Sampling(NUM_DRAWN, temperature=0.0)),
        _draw(sampler, row, Sampling(NUM_DRAWN, temperature=HEAT)),
    )
    reading = Reading(
        fixed=(_trainer(source, row, 1), scored),
        greedy=(_trainer(source, [*row, *greedy.tokens], len(row)), greedy.model or ()),
        heated=(_trainer(source, [*row, *heated.tokens], len(row), HEAT), heated.sampled),
    )
    return reading, {greedy.mark, heated.mark}


def fixed_row(source: LocalPolicy, max_context: int) -> list[int]:
    """The same tokens at every reading, drawn once and for all from the words that the tokenizer knows."""
    rng = stream(0, "canary")
    return [rng.randrange(len(source.tokenizer)) for _ in range(min(NUM_FIXED, max_context - NUM_DRAWN))]


def judge(now: Reading, before: Reading | None, bound: float) -> str:
    """Why the engine does not have the weights; empty where it does.

    An engine in other numbers than the trainer is always a little off, and a step of training may be less than that. So
    it must also move as the trainer moves: one that stays where it was has not got the weights, however near it is.
    """
    parts = {
        "the same fixed tokens": now.fixed,
        "tokens that it drew greedily (kept keys and values may be old)": now.greedy,
        f"tokens that it drew at temperature {HEAT} (it must say log-probabilities after temperature)": now.heated,
    }
    for words, (trainer, engine) in parts.items():
        gap = _mean_gap(trainer, engine)
        if not gap <= bound:
            return f"a mean difference of {gap:.3g} nats on {words}, more than {bound:.3g}"
    if before is None:
        return ""
    trainer_moved, engine_moved = (_mean_gap(a, b) for a, b in zip(now.fixed, before.fixed, strict=True))
    if trainer_moved > SEEN and engine_moved < trainer_moved / 2:
        return f"the trainer moved by {trainer_moved:.3g} nats a token and the engine by {engine_moved:.3g}"
    return ""


def refuse(why: str, sampler: Sampler, policy: str) -> None:
    """Stop a run whose samples would come from other weights than those that are trained."""
    raise GateFailed(
        "the engine does not sample the weights that are trained",
        where=f"policy {policy!r}, sampled by {sampler.name}",
        got=why,
        wanted="the same log-probabilities, up to rounding, right after the weights were handed over",
        cure="look whether another run uses this engine, start the engine anew, and go on with "
        "`evolvent run --resume RUN`; raise sampler.bounds.max_gap where its numbers are that much shorter",
    )


async def _draw(sampler: Sampler, row: Sequence[int], how: Sampling) -> Drawn:
    return (await sampler.draw([Prompt((), tokens=tuple(row), stream=("canary",))], how, ()))[0]


def _trainer(source: LocalPolicy, row: Sequence[int], start: int, heat: float = 1.0) -> list[float]:
    """The trainer's own log-probabilities of row[start:], from a plain forward pass of its model."""
    token_1T = torch.tensor([list(row)], device=source.model.device)
    with torch.no_grad():
        logits_TV: Tensor = source.model(input_ids=token_1T, use_cache=False).logits[0, start - 1 : -1]
        logprob_TV = (logits_TV.float() / heat).log_softmax(-1)
    return [float(x) for x in logprob_TV.gather(-1, token_1T[0, start:, None])[:, 0]]


def _mean_gap(left: Sequence[float], right: Sequence[float]) -> float:
    if len(left) != len(right):
        return float("inf")
    return sum(abs(a - b) for a, b in zip(left, right, strict=True)) / max(len(left), 1)
