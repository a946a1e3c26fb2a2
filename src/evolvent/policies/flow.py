"""Decoding on the fast path in which rows come and go one by one: nobody waits for the longest row of a batch."""

# R live rows, U different prompts, V vocabulary

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812

from evolvent.models import fast
from evolvent.models.decoding import BLOCK, KVCache, chunk
from evolvent.policies.decode import Draws, choose
from evolvent.policies.fast_decode import WORTH_THREADS, FastEngine
from evolvent.policies.policy import Step
from evolvent.policies.transcript import Tail
from evolvent.records import Completion, Prompt, Sampling
from evolvent.seeds import uniforms

if TYPE_CHECKING:
    from torch import Tensor

    from evolvent.policies.local import LocalPolicy


@dataclass(slots=True, eq=False)
class _Row:
    number: int
    prompt: Prompt
    how: Sampling
    call_id: str
    uniforms: list[float]
    tail: Tail | None
    position: int  # tokens that stand in the cache
    draws: Draws = field(default_factory=Draws)
    met_stop: bool = False
    is_unwanted: bool = False


class FastFlow:
    """See policies.policy.Flow; the live rows are the first of the cache, which forgets a row when it ends."""

    def __init__(self, policy: LocalPolicy, engine: FastEngine) -> None:
        self._policy, self._engine = policy, engine
        self._rows: list[_Row] = []
        self._fresh: list[_Row] = []
        self._num_seen = 0
        self._cache: KVCache | None = None
        self._logits_RV: Tensor | None = None

    @property
    def num_live(self) -> int:
        """See Flow."""
        return len(self._rows) + len(self._fresh)

    def admit(self, prompts: Sequence[Prompt], how: Sampling) -> list[int]:
        """See Flow."""
        call_ids = self._policy.open_calls(prompts, how)
        text, start = self._policy.renderer.text, self._num_seen
        for number, (prompt, call_id) in enumerate(zip(prompts, call_ids, strict=True), start):
            draws = uniforms(how.seed, *prompt.stream, num=prompt.room(how)).tolist()
            tail = Tail(prompt.stops, text) if prompt.stops else None
            self._fresh.append(_Row(number, prompt, how, call_id, draws, tail, len(prompt.tokens or ())))
        self._num_seen += len(prompts)
        return list(range(start, self._num_seen))

    def end(self, rows: Collection[int]) -> None:
        """See Flow."""
        for row in (*self._rows, *self._fresh):
            row.is_unwanted = row.is_unwanted or row.number in rows

    @torch.no_grad()
    def step(self) -> tuple[Step, dict[int, Completion]]:
        """See Flow."""
        self._fresh = [row for row in self._fresh if not row.is_unwanted]
        if self._fresh:
            self._begin(sorted(self._fresh, key=lambda row: row.position, reverse=True))
        logits_RV = self._logits_RV
        if not self._rows or logits_RV is None:
            return Step([], [], [], [], None), {}
        drawn = self._choose(logits_RV)
        tokens, sampled, model = (x.tolist() for x in drawn)
        step = Step([row.number for row in self._rows], tokens, sampled, model, logits_RV)
        over = [self._is_over(*one) for one in zip(self._rows, tokens, sampled, model, strict=True)]
        ended = [row for row, is_over in zip(self._rows, over, strict=True) if is_over]
        self._drop(over)
        self._logits_RV = self._next() if self._rows else None
        return step, {row.number: self._read(row) for row in ended if not row.is_unwanted}

    def _begin(self, new: list[_Row]) -> None:
        """Read the prompts of new rows, longest first, each different one once, and seat them behind the live ones."""
        engine, live = self._engine, len(self._rows)
        unique = list(dict.fromkeys(row.prompt.tokens or () for row in new))
        cache = KVCache(engine.weights, len(unique))
        logits_RV = engine.read(cache, unique, engine.index([0] * len(unique)), level=0)
        if len(unique) < len(new):
            place = {tokens: u for u, tokens in enumerate(unique)}
            row_R = engine.index([place[row.prompt.tokens or ()] for row in new])
            cache, logits_RV = cache.take(row_R), logits_RV[row_R]
        if live and self._cache is not None and self._logits_RV is not None:
            self._make_room(live + len(new), max(cache.max_len, *(row.position for row in self._rows)))
            self._cache.put(cache, live)
            logits_RV = torch.cat([self._logits_RV, logits_RV])
        else:
            self._cache = cache
        self._rows += new
        self._fresh, self._logits_RV = [], logits_RV

    def _make_room(self, rows: int, length: int) -> None:
        """Room in the cache for rows of this length; what long rows left behind is given up, as it is read in vain."""
        assert self._cache is not None
        num_rows, max_len = self._cache.rows, self._cache.max_len
        if rows > num_rows or max_len > 2 * (length + BLOCK):
            wide = max_len if max_len <= 2 * (length + BLOCK) else length + BLOCK
            self._cache.resize(num_rows if rows <= num_rows else max(rows, 2 * num_rows), wide)

    def _choose(self, logits_RV: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One draw for each live row; rows that are sampled alike are drawn together."""
        draws = [row.uniforms[len(row.draws.tokens)] for row in self._rows]
        uniform_R = torch.tensor(draws, dtype=torch.float32, device=logits_RV.device)
        kinds: dict[tuple[float, float, int], list[int]] = {}
        for place, row in enumerate(self._rows):
            kinds.setdefault((row.how.temperature, row.how.top_p, row.how.top_k), []).append(place)
        if len(kinds) == 1:
            return choose(logits_RV, uniform_R, self._rows[0].how)
        token_R = torch.empty(len(draws), dtype=torch.long, device=logits_RV.device)
        sampled_R, model_R = torch.empty_like(uniform_R), torch.empty_like(uniform_R)
        for places in kinds.values():
            at = self._engine.index(places)
            drawn = choose(logits_RV[at], uniform_R[at], self._rows[places[0]].how)
            token_R[at], sampled_R[at], model_R[at] = drawn
        return token_R, sampled_R, model_R

    def _is_over(self, row: _Row, token: int, sampled: float, model: float) -> bool:
        """Whether this token is the row's last, once it is written down."""
        row.draws.tokens.append(token)
        row.draws.sampled.append(sampled)
        row.draws.model.append(model)
        row.met_stop = row.tail is not None and row.tail.meets(token)
        is_full = len(row.draws.tokens) == len(row.uniforms)
        return token in self._policy.renderer.stop_ids or is_full or row.met_stop or row.is_unwanted

    def _drop(self, over: Sequence[bool]) -> None:
        """Let live rows from the end take the places of those that are over."""
        left = len(over) - sum(over)
        holes = [place for place in range(left) if over[place]]
        movers = [place for place in range(left, len(over)) if not over[place]]
        if holes and self._cache is not None:
            self._cache.swap(self._engine.index(holes), self._engine.index(movers))
            for hole, mover in zip(holes, movers, strict=True):
                self._rows[hole] = self._rows[mover]
        del self._rows[left:]

    def _next(self) -> Tensor:
        """Logits behind the tokens that the live rows have just drawn."""
        engine, live, cache = self._engine, len(self._rows), self._cache
        assert cache is not None
        read = min(cache.rows, engine.grain * -(-live // engine.grain))  # others may ride along
        token_R = engine.index([row.draws.tokens[-1] for row in self._rows])
        position_R = engine.index([row.position for row in self._rows])
        first = self._rows[0].position
        level = first if all(row.position == first for row in self._rows) else None
        num_threads = torch.get_num_threads()
        if read * engine.products < WORTH_THREADS and num_threads > 1:
            torch.set_num_threads(1)
        try:
            token_R1 = F.pad(token_R, (0, read - live))[:, None]
            hidden = chunk(engine.weights, cache, token_R1, F.pad(position_R, (0, read - live)), level)
            logits_RV = fast.logits(engine.weights, hidden[:, 0])[:live]
        finally:
            if num_threads > 1:
                torch.set_num_threads(num_threads)
        for row in self._rows:
            row.position += 1
        return logits_RV

    def _read(self, row: _Row) -> Completion:
        return self._policy.completion(row.prompt, row.call_id, row.draws, row.met_stop, self._engine.name)
