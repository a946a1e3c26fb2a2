"""Decoding on local weights: one token per step for all live rows, two log-probabilities for each.

Two engines with one contract: `FastEngine` (listed classes, cached context across turns, rows swapped out as they
end) and `GenericEngine` (any transformers model with a cache).
"""

# R live rows, V vocabulary, C tokens of a chunk, T tokens

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from evolvent.policies.policy import Step, Watch
from evolvent.records import Prompt, Sampling


@dataclass(slots=True)
class Draws:
    """What was sampled for one row."""

    tokens: list[int] = field(default_factory=list)
    sampled: list[float] = field(default_factory=list)
    model: list[float] = field(default_factory=list)


class Engine(Protocol):
    """A way to decode: rows in, draws out."""

    name: str

    def decode(
        self,
        prompts: Sequence[Prompt],
        call_ids: Sequence[str],
        uniforms: np.ndarray,
        how: Sampling,
        stop: frozenset[int],
        watch: Watch | None = None,
    ) -> list[Draws]:
        """Sample every row to its stop token, its room or the watch's word; `uniforms` is (rows, longest room)."""
        ...

    def forget(self) -> None:
        """Drop all cached context (the weights changed, or the step is over)."""
        ...


def choose(logits_RV: Tensor, uniform_R: Tensor, how: Sampling) -> tuple[Tensor, Tensor, Tensor]:
    """Token, log-probability after temperature and truncation, and log-probability at temperature 1, per row."""
    model_RV = logits_RV.float().log_softmax(-1)
    if how.temperature == 0:
        token_R = model_RV.argmax(-1)
        return token_R, torch.zeros_like(uniform_R, dtype=torch.float32), _at(model_RV, token_R)
    sampled_RV = _shaped(model_RV, how)
    mass_RV = sampled_RV.exp().cumsum(-1)
    target_R1 = uniform_R[:, None].float() * mass_RV[:, -1:]
    token_R = torch.searchsorted(mass_RV, target_R1, right=True)[:, 0].clamp_(max=logits_RV.shape[-1] - 1)
    sampled_R = _at(sampled_RV, token_R)
    if torch.isinf(sampled_R).any():  # rounding put the draw behind the last kept token
        token_R = torch.where(torch.isinf(sampled_R), sampled_RV.argmax(-1), token_R)
        sampled_R = _at(sampled_RV, token_R)
    model_R = sampled_R if sampled_RV is model_RV else _at(model_RV, token_R)
    return token_R, sampled_R, model_R


def likeliest(logits_RV: Tensor, how: Sampling, num: int) -> tuple[Tensor, Tensor]:
    """The `num` likeliest tokens of each row and their log-probabilities after temperature and truncation."""
    model_RV = logits_RV.float().log_softmax(-1)
    if how.temperature == 0:  # all mass is on one token
        token_R1 = model_RV.argmax(-1, keepdim=True)
        return token_R1, torch.zeros_like(token_R1, dtype=torch.float32)
    found = _shaped(model_RV, how).topk(min(num, model_RV.shape[-1]), -1)
    return found.indices, found.values


def _shaped(model_RV: Tensor, how: Sampling) -> Tensor:
    """Log-probabilities after temperature and truncation; the same table where neither changes anything."""
    sampled_RV = model_RV if how.temperature == 1 else (model_RV / how.temperature).log_softmax(-1)
    return truncate(sampled_RV, how.top_k, how.top_p) if how.top_k or how.top_p < 1 else sampled_RV


def truncate(logprob_RV: Tensor, top_k: int, top_p: float) -> Tensor:
    """Keep the `top_k` likeliest tokens, then the smallest set of mass `top_p`; renormalised."""
    if top_k and top_k < logprob_RV.shape[-1]:
        kth_R1 = logprob_RV.topk(top_k, -1).values[:, -1:]
        logprob_RV = logprob_RV.masked_fill(logprob_RV < kth_R1, -torch.inf).log_softmax(-1)
    if top_p < 1:
        ordered_RV, place_RV = logprob_RV.sort(-1, descending=True)
        before_RV = ordered_RV.exp().cumsum(-1) - ordered_RV.exp()
        dropped_RV = torch.zeros_like(logprob_RV, dtype=torch.bool).scatter(-1, place_RV, before_RV >= top_p)
        logprob_RV = logprob_RV.masked_fill(dropped_RV, -torch.inf).log_softmax(-1)
    return logprob_RV


def _at(table_RV: Tensor, token_R: Tensor) -> Tensor:
    return table_RV.gather(-1, token_R[:, None])[:, 0]


def ended_by(watch: Watch, row_R: Tensor, drawn: tuple[Tensor, Tensor, Tensor], logits_RV: Tensor) -> Tensor:
    """Which live rows a watch ends, once it has heard what they drew (token and its two log-probabilities)."""
    rows = row_R.tolist()
    token_R, sampled_R, model_R = drawn
    over = watch(Step(rows, token_R.tolist(), sampled_R.tolist(), model_R.tolist(), logits_RV))
    return torch.tensor([row in over for row in rows], device=row_R.device)


@dataclass(slots=True)
class _Tape:
    """What the live rows have drawn so far; rows that end are handed over in one piece."""

    tokens: Tensor
    sampled: Tensor
    model: Tensor

    @classmethod
    def blank(cls, rows: int, steps: int, device: Any) -> _Tape:
        return cls(
            torch.zeros(rows, steps, dtype=torch.long, device=device),
            torch.zeros(rows, steps, device=device),
            torch.zeros(rows, steps, device=device),
        )

    def read(self, lengths: Sequence[int]) -> list[Draws]:
        tokens, sampled, model = self.tokens.tolist(), self.sampled.tolist(), self.model.tolist()
        return [Draws(tokens[i][:n], sampled[i][:n], model[i][:n]) for i, n in enumerate(lengths)]


class GenericEngine:
    """Any transformers model with a cache: prompts padded on the left, each prompt computed once per group."""

    name = "generic"

    def __init__(self, model: Any, pad_id: int) -> None:
        self.model, self.pad_id = model, pad_id

    def forget(self) -> None:
        """Nothing is kept between calls."""

    @torch.no_grad()
    def decode(
        self,
        prompts: Sequence[Prompt],
        call_ids: Sequence[str],
        uniforms: np.ndarray,
        how: Sampling,
        stop: frozenset[int],
        watch: Watch | None = None,
    ) -> list[Draws]:
        """See Engine."""
        device = next(self.model.parameters()).device
        unique = list(dict.fromkeys(p.tokens or () for p in prompts))
        token_UT, seen_UT = _pad_left(unique, self.pad_id, device)
        position_UT = (seen_UT.cumsum(-1) - 1).clamp_(min=0)
        made = self.model(input_ids=token_UT, attention_mask=seen_UT, position_ids=position_UT, use_cache=True)
        place = {tokens: i for i, tokens in enumerate(unique)}
        row_R = torch.tensor([place[p.tokens or ()] for p in prompts], device=device)
        cache = made.past_key_values
        if len(unique) != len(prompts):
            cache.batch_select_indices(row_R)
        logits_RV, seen_RT, length_R = made.logits[row_R, -1], seen_UT[row_R], seen_UT.sum(-1)[row_R]
        stops = torch.tensor(sorted(stop), device=device)
        uniform_RT = torch.from_numpy(uniforms).float().to(device)  # some devices have no float64
        steps = uniforms.shape[1]
        room_R = torch.tensor([p.room(how) for p in prompts], device=device)
        tape = _Tape.blank(len(prompts), steps, device)
        live_R = torch.arange(len(prompts), device=device)
        lengths = room_R.clone()
        for t in range(steps):
            token_R, tape.sampled[live_R, t], tape.model[live_R, t] = choose(logits_RV, uniform_RT[live_R, t], how)
            tape.tokens[live_R, t] = token_R
            goes_on = ~torch.isin(token_R, stops) & (room_R[live_R] > t + 1)
            if watch is not None:
                drawn = (token_R, tape.sampled[live_R, t], tape.model[live_R, t])
                goes_on &= ~ended_by(watch, live_R, drawn, logits_RV)
            lengths[live_R[~goes_on]] = t + 1
            if not goes_on.any():
                break
            if not goes_on.all():
                keep = goes_on.nonzero()[:, 0]
                cache.batch_select_indices(keep)
                live_R, token_R, seen_RT, length_R = live_R[keep], token_R[keep], seen_RT[keep], length_R[keep]
            seen_RT = torch.cat([seen_RT, seen_RT.new_ones(len(live_R), 1)], -1)
            made = self.model(
                input_ids=token_R[:, None],
                attention_mask=seen_RT,
                position_ids=length_R[:, None],
                past_key_values=cache,
                use_cache=True,
            )
            logits_RV, length_R = made.logits[:, -1], length_R + 1
        return tape.read(lengths.tolist())


def _pad_left(rows: Sequence[Sequence[int]], pad_id: int, device: Any) -> tuple[Tensor, Tensor]:
    longest = max(map(len, rows))
    token_RT = torch.full((len(rows), longest), pad_id, dtype=torch.long)
    seen_RT = torch.zeros((len(rows), longest), dtype=torch.long)
    for i, row in enumerate(rows):
        token_RT[i, longest - len(row) :] = torch.tensor(row)
        seen_RT[i, longest - len(row) :] = 1
    return token_RT.to(device), seen_RT.to(device)


def pad_right(rows: Sequence[Sequence[int]], pad_id: int, device: Any) -> Tensor:
    """Rows of token ids as one (R, T) tensor, padded at the end."""
    longest = max(map(len, rows))
    flat = np.full((len(rows), longest), pad_id, dtype=np.int64)
    for i, row in enumerate(rows):
        flat[i, : len(row)] = row
    return torch.from_numpy(flat).to(device)
