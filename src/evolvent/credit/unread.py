"""Credit for everything but the words between two marks, such as what was retrieved: no loss looks at those."""

# T tokens of a trace, turn after turn

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evolvent.credit.advantage import Advantage
from evolvent.credit.batch import Credit
from evolvent.errors import BadInput
from evolvent.policies.transcript import Transcript
from evolvent.records import Group, Trace, Turn

TokenText = Callable[[Sequence[int]], str]


@dataclass(frozen=True, slots=True)
class Unread:
    """The credit of `inner`, and none at all from `opens` to `closes`, both included, wherever they stand in a reply.

    Every such block counts, over as many lines as it has; one that is never closed goes on to the end of the reply. The
    blocks are found in the text of the recorded ids, token by token: a token that belongs to a block in part is in it.
    With `component`, only traces whose score has that component above 0 are treated so.
    """

    inner: Advantage
    opens: str
    closes: str
    component: str = ""

    def __post_init__(self) -> None:
        if not self.opens or not self.closes:
            raise BadInput(
                "a block without a mark cannot be found", where="Unread", got=f"{self.opens!r}, {self.closes!r}"
            )

    @property
    def min_group(self) -> int:
        """Attempts that a group needs."""
        return getattr(self.inner, "min_group", 1)

    def __call__(self, scores: Sequence[float]) -> list[float]:
        """One advantage per score: what is left of it where no text is known."""
        return self.inner(scores)

    def begin_beside(self, policy: Any) -> LiveUnread:
        """The same with a tokenizer to read by: that of the policy whose tokens these are."""
        return LiveUnread(self, policy.renderer.text)


@dataclass(frozen=True, slots=True)
class LiveUnread:
    """`Unread` at work."""

    plan: Unread
    text: TokenText

    def __call__(self, scores: Sequence[float]) -> list[float]:
        """One advantage per score, whatever the text."""
        return self.plan(scores)

    def by_trace(self, groups: Sequence[Group]) -> list[list[Credit]]:
        """A masked array per trace."""
        return [self._weigh(group) for group in groups]

    def _weigh(self, group: Group) -> list[Credit]:
        scores = [trace.score.value for trace in group.traces if trace.score is not None]
        has_baseline = len(scores) >= self.plan.min_group
        weights = self.plan.inner(scores) if has_baseline else [0.0] * len(scores)
        return [
            np.ma.MaskedArray(np.full(len(trace.tokens), weight), self._is_hidden(trace))
            for trace, weight in zip(group.traces, weights, strict=True)
        ]

    def _is_hidden(self, trace: Trace) -> np.ndarray:
        name = self.plan.component
        if name and (trace.score is None or trace.score.components.get(name, 0.0) <= 0):
            return np.zeros(len(trace.tokens), dtype=bool)
        return find_blocks(trace, self.plan.opens, self.plan.closes, self.text)


def find_blocks(trace: Trace, opens: str, closes: str, text: TokenText) -> np.ndarray:
    """True for each token of a trace that has a part in a block of a reply, (T,)."""
    is_inside_T = np.zeros(len(trace.tokens), dtype=bool)
    for start, tokens in _replies(trace.turns):
        pieces = spell(tokens, text)
        stop_T = np.cumsum([len(piece) for piece in pieces])
        start_T = stop_T - [len(piece) for piece in pieces]
        for first, last in blocks("".join(pieces), opens, closes):
            # a token that shows nothing yet is the first part of the character behind it
            is_part_T = (start_T < last) & (np.maximum(stop_T, start_T + 1) > first)
            is_inside_T[start : start + len(tokens)] |= is_part_T
    return is_inside_T


def blocks(text: str, opens: str, closes: str) -> Iterator[tuple[int, int]]:
    """Where each block begins and ends, marks included; the last one may be open."""
    at = 0
    while (start := text.find(opens, at)) >= 0:
        end = text.find(closes, start + len(opens))
        at = end + len(closes) if end >= 0 else len(text)
        yield start, at


def spell(tokens: Sequence[int], text: TokenText) -> list[str]:
    """The text of each token; together they are the text of all."""
    alone = [text([token]) for token in tokens]
    if "".join(alone) == text(tokens):
        return alone
    transcript = Transcript(text)  # half characters, or words that are spelt by what stands before them
    pieces = [transcript.add(token) for token in tokens]
    return [*pieces[:-1], pieces[-1] + transcript.rest()] if pieces else []


def _replies(turns: Sequence[Turn]) -> Iterator[tuple[int, list[int]]]:
    """Stretches of tokens between two messages of somebody else, each with its place in the trace.

    Words that the environment put into a reply belong to it; the prompt, which may explain the marks, does not.
    """
    start, tokens, place = 0, list[int](), 0
    for turn in turns:
        is_reply = turn.message.role == "assistant" or (bool(tokens) and turn.message.role == "tool")
        if turn.starts_context or not is_reply:
            if tokens:
                yield start, tokens
            tokens = []
        if is_reply:
            skipped = 0 if tokens else next((i for i, m in enumerate(turn.mask) if m), len(turn.tokens))
            start = start if tokens else place + skipped
            tokens = tokens + list(turn.tokens[skipped:])
        place += len(turn.tokens)
    if tokens:
        yield start, tokens
