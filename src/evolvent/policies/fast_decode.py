"""Decoding on the fast path: context stays computed between turns, and rows that end make room at once."""

# R live rows, C tokens of a chunk, V vocabulary

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from evolvent.models import fast
from evolvent.models.decoding import KVCache, chunk
from evolvent.policies.decode import Draws, _Tape, choose, ended_by, pad_right
from evolvent.policies.policy import Watch
from evolvent.records import Prompt, Sampling

GRAIN = 32  # on a CPU each number of rows has its own compiled product in bfloat16, so few numbers are used
WORTH_THREADS = 4_000_000  # rows x width^2 below which waking a second thread costs more than it brings
BLOCK_COST = 256  # what a further block of columns costs, in tokens


class _Started(NamedTuple):
    """Rows (by number) that have read their prompts; `level` is the column that all of them fill next, if it is one."""

    numbers: list[int]
    cache: KVCache
    logits_RV: Tensor
    level: int | None


class FastEngine:
    """Models with a fast path: prompts computed once per group, later turns add only their new tokens."""

    name = "fast"

    def __init__(self, model: Any, pad_id: int) -> None:
        self.weights, self.pad_id = fast.FastWeights(model), pad_id
        self._device = next(model.parameters()).device
        is_compiled = self._device.type == "cpu" and model.dtype == torch.bfloat16
        self.grain = GRAIN if is_compiled else 1
        self.products = model.config.hidden_size**2
        self._caches: list[KVCache] = []
        self._kept: dict[str, tuple[int, int, tuple[int, ...]]] = {}  # call id -> cache, row, tokens computed

    def forget(self) -> None:
        """Drop all cached context."""
        self._caches, self._kept = [], {}

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
        drawn: dict[int, Draws] = {}
        for started in self._prefill(prompts):
            rows = [prompts[i].tokens or () for i in started.numbers]
            uniform_RT = torch.from_numpy(uniforms[started.numbers]).float().to(self._device)
            rooms = [prompts[i].room(how) for i in started.numbers]
            num_threads = torch.get_num_threads()
            try:
                draws, slots = self._draw(started, rows, rooms, uniform_RT, how, stop, watch)
            finally:
                torch.set_num_threads(num_threads)
            started.cache.table = None  # later turns lay their own
            self._caches.append(started.cache)
            for place, i in enumerate(started.numbers):
                drawn[i] = draws[place]
                known = (*rows[place], *draws[place].tokens[:-1])  # the last token was drawn, not yet read
                self._kept[call_ids[i]] = (len(self._caches) - 1, slots[place], known)
        return [drawn[i] for i in range(len(prompts))]

    def _prefill(self, prompts: Sequence[Prompt]) -> list[_Started]:
        """Prompts in batches that share a start: new ones, and those that continue a kept cache."""
        starts: dict[int, list[int]] = {}
        for i, prompt in enumerate(prompts):
            kept = self._kept.get(prompt.continues or "")
            tokens = prompt.tokens or ()
            extends = kept is not None and len(kept[2]) < len(tokens) and tokens[: len(kept[2])] == kept[2]
            starts.setdefault(kept[0] if kept is not None and extends else -1, []).append(i)
        return [
            self._open(prompts, numbers) if which < 0 else self._continue(prompts, numbers, which)
            for which, numbers in sorted(starts.items())
        ]

    def _open(self, prompts: Sequence[Prompt], numbers: list[int]) -> _Started:
        rows = {i: prompts[i].tokens or () for i in numbers}
        unique = sorted(dict.fromkeys(rows.values()), key=len, reverse=True)
        place = {tokens: i for i, tokens in enumerate(unique)}
        numbers = sorted(numbers, key=lambda i: place[rows[i]])
        lengths = [len(tokens) for tokens in unique]
        cache = KVCache(self.weights, len(unique))
        logits_UV = self.read(cache, unique, self.index([0] * len(unique)), level=0)
        if len(unique) == len(numbers):
            return _Started(numbers, cache, logits_UV, lengths[0] if lengths[0] == lengths[-1] else None)
        row_R = self.index([place[rows[i]] for i in numbers])
        shared = KVCache(self.weights, len(numbers), cache.as_prompts(self.index(lengths)), row_R)
        return _Started(numbers, shared, logits_UV[row_R], 0)

    def _continue(self, prompts: Sequence[Prompt], numbers: list[int], which: int) -> _Started:
        kept = {i: self._kept[prompts[i].continues or ""] for i in numbers}
        new = {i: (prompts[i].tokens or ())[len(kept[i][2]) :] for i in numbers}
        numbers = sorted(numbers, key=lambda i: len(new[i]), reverse=True)
        cache = self._caches[which].take(self.index([kept[i][1] for i in numbers]))
        starts = self.index([len(kept[i][2]) for i in numbers])
        return _Started(numbers, cache, self.read(cache, [new[i] for i in numbers], starts), None)

    def index(self, numbers: Sequence[int]) -> Tensor:
        """Numbers as a tensor where the weights are."""
        return torch.tensor(numbers, dtype=torch.long, device=self._device)

    def read(self, cache: KVCache, chunks: Sequence[Sequence[int]], starts: Tensor, level: int | None = None) -> Tensor:
        """Feed one chunk per row, longest first, and give the logits after its last token.

        One long chunk (an error message, say) must not pad all others: what all rows have is read at once, and the
        rest for the few that have more.
        """
        token_RC = pad_right(chunks, self.pad_id, self._device)
        length_R = torch.tensor([len(c) for c in chunks], device=self._device)
        hidden_RW: Tensor | None = None
        at, num = 0, len(chunks)
        for stop in _blocks([len(c) for c in chunks]):
            now = None if level is None else level + at
            made_RCW = chunk(self.weights, cache, token_RC[:num, at:stop], starts[:num] + at, now)
            if hidden_RW is None:
                hidden_RW = made_RCW.new_empty(num, made_RCW.shape[-1])
            ends_R = ((length_R[:num] <= stop) & (length_R[:num] > at)).nonzero()[:, 0]
            hidden_RW[ends_R] = made_RCW[ends_R, length_R[ends_R] - 1 - at]
            at, num = stop, int((length_R > stop).sum())
        assert hidden_RW is not None
        return fast.logits(self.weights, hidden_RW)

    def _draw(
        self,
        started: _Started,
        rows: Sequence[Sequence[int]],
        rooms: Sequence[int],
        uniform_RT: Tensor,
        how: Sampling,
        stop: frozenset[int],
        watch: Watch | None,
    ) -> tuple[list[Draws], list[int]]:
        """The decoding loop; live rows stand first in the cache, ended ones are swapped behind them."""
        num, device = len(rows), self._device
        cache, logits_RV = started.cache, started.logits_RV
        room_R = torch.tensor(rooms, device=device)
        tape = _Tape.blank(num, max(rooms), device)
        lengths_R = room_R.clone()
        stop_V = torch.zeros(logits_RV.shape[-1], dtype=torch.bool, device=device)
        stop_V[sorted(stop)] = True
        row_at = torch.arange(num, device=device)  # cache place -> row
        number_R = self.index(started.numbers)
        position = torch.tensor([len(r) for r in rows], device=device)
        live = seated = num
        for t in range(max(rooms)):
            token, sampled, model = choose(logits_RV, uniform_RT[row_at[:live], t], how)
            tape.tokens[row_at[:live], t] = token
            tape.sampled[row_at[:live], t] = sampled
            tape.model[row_at[:live], t] = model
            ended = stop_V[token] | (room_R[row_at[:live]] <= t + 1)
            if watch is not None:
                ended |= ended_by(watch, number_R[row_at[:live]], (token, sampled, model), logits_RV)
            if ended.any():
                lengths_R[row_at[:live][ended]] = t + 1
                live, token, position = _move_behind(cache, row_at, position, token, ended, live)
                if not live:
                    break
            read = min(num, self.grain * -(-live // self.grain))  # rows that have ended may ride along
            if 2 * read <= seated:  # prompts that nobody reads any more are dropped
                cache.seat(read)
                seated = read
            now = None if started.level is None else started.level + t
            if read * self.products < WORTH_THREADS:
                torch.set_num_threads(1)
            token_R1 = F.pad(token, (0, read - live))[:, None]
            hidden = chunk(self.weights, cache, token_R1, position[:read], now)
            logits_RV = fast.logits(self.weights, hidden[:, 0])[:live]
            position[:live] += 1
        slots = torch.empty_like(row_at)
        slots[row_at] = torch.arange(num, device=device)
        return tape.read(lengths_R.tolist()), slots.tolist()


def _move_behind(
    cache: KVCache, row_at: Tensor, position: Tensor, token: Tensor, ended: Tensor, live: int
) -> tuple[int, Tensor, Tensor]:
    """Swap ended rows with live ones from the end, so that the live rows are the first `left` again."""
    left = live - int(ended.sum())
    holes = ended[:left].nonzero()[:, 0]
    movers = left + (~ended[left:live]).nonzero()[:, 0]
    if len(holes):
        cache.swap(holes, movers)
        both, crossed = torch.cat([holes, movers]), torch.cat([movers, holes])
        row_at[both] = row_at[crossed]
        position[both] = position[crossed]
        token = token.clone()
        token[both] = token[crossed]
    return left, token[:left], position


def _blocks(lengths: Sequence[int]) -> list[int]:
    """Where to cut columns of rows sorted by length, longest first: one block, or the two that read least padding."""
    num, longest = len(lengths), lengths[0]
    best, cut = num * longest - BLOCK_COST, longest
    for rank, length in enumerate(lengths):
        if 0 < length < longest and num * length + rank * (longest - length) < best:
            best, cut = num * length + rank * (longest - length), length
    return [cut] if cut == longest else [cut, longest]
