"""Tokens as text for the wire: what a token alone reads as, and which words of a growing answer may go out already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from evolvent.policies.transcript import Transcript, first_stop
from evolvent.records import Message, Tool

TAGS = ("\n<tool_call>", "<tool_call>")
"""How a call begins where it is written in words; the line break before it belongs to it."""


class Renderer(Protocol):
    """Messages and words to token ids and back: models.render has the real one."""

    stop_ids: frozenset[int]
    call_start: tuple[int, ...]
    native_calls: bool

    def open(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> tuple[int, ...]:
        """The whole prompt, the mark of the assistant's turn included."""
        ...

    def plain(self, text: str) -> tuple[int, ...]:
        """Bare words; no mark is ever read in them."""
        ...

    def parse(self, tokens: Sequence[int], tools: Sequence[Tool] = ()) -> Message:
        """What a policy wrote."""
        ...

    def text(self, tokens: Sequence[int]) -> str:
        """Token ids as text."""
        ...


class Spelling:
    """Texts of single tokens, remembered."""

    def __init__(self, renderer: Renderer) -> None:
        self.renderer = renderer
        self._texts: dict[int, tuple[str, list[int] | None]] = {}

    def token(self, token: int) -> tuple[str, list[int] | None]:
        """The text of one token and its bytes; None for half a character, which text cannot tell."""
        if token not in self._texts:
            text = self.renderer.text((token,))
            self._texts[token] = (text, None if "\ufffd" in text else list(text.encode()))
        return self._texts[token]

    def label(self, token: int) -> str:
        """A text for one token that no other has: half a character goes by its id."""
        text, code = self.token(token)
        return text if code is not None else f"token_id:{token}"

    def offsets(self, tokens: Sequence[int]) -> list[int]:
        """Where in the text of all tokens each of them begins; half a character begins where the whole one does."""
        transcript, at = Transcript(self.renderer.text), 0
        offsets = []
        for token in tokens:
            offsets.append(at)
            at += len(transcript.add(token))
        return offsets

    def chat_gate(self, stops: Sequence[str]) -> Gate:
        """A gate for the content of a message: what may belong to a call or a stop string waits."""
        own = self.renderer.call_start[:1] if self.renderer.native_calls else ()
        marks = (*stops, *(() if self.renderer.native_calls else TAGS))
        return Gate(self.renderer, marks, frozenset(own) | self.renderer.stop_ids)

    def text_gate(self, stops: Sequence[str]) -> Gate:
        """A gate for bare text, in which marks of calls are words like others."""
        return Gate(self.renderer, stops, self.renderer.stop_ids)


class Gate:
    """Lets out the words of a growing completion that are certain to belong to what the client reads in the end.

    Half a character, and words that may begin one of `marks`, wait; behind a mark or a token of `closing` everything
    does.
    """

    def __init__(self, renderer: Renderer, marks: Sequence[str], closing: frozenset[int]) -> None:
        self._transcript = Transcript(renderer.text)
        self._marks, self._closing = tuple(marks), closing
        self._held, self._is_closed = "", False
        self.out = ""
        self.num_read = 0  # characters that all tokens so far have

    def add(self, token: int) -> str:
        """The words that this token sets free."""
        self._is_closed = self._is_closed or token in self._closing
        piece = self._transcript.add(token)
        self.num_read += len(piece)
        if self._is_closed:
            return ""
        self._held += piece
        at = first_stop(self._held, self._marks)
        self._is_closed = at < len(self._held)
        free = at if self._is_closed else at - self._num_open()
        words, self._held = self._held[:free], self._held[free:]
        self.out += words
        return words

    def rest(self, whole: str) -> str:
        """What is still missing of the whole text, now that it is known."""
        # a tokenizer that writes a word otherwise once more follows makes the two differ; then the difference goes out
        same = next((i for i, (a, b) in enumerate(zip(self.out, whole, strict=False)) if a != b), len(self.out))
        return whole[same:]

    def _num_open(self) -> int:
        """How many characters at the end may be the beginning of a mark."""
        longest = max(map(len, self._marks), default=0) - 1
        ends = (self._held[-num:] for num in range(min(longest, len(self._held)), 0, -1))
        return next((len(end) for end in ends if any(mark.startswith(end) for mark in self._marks)), 0)
