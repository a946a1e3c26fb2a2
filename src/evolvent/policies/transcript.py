"""Token ids as text while they come: half a character waits for its other half, and a stop string ends its row."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from evolvent.policies.policy import Step, Watch
from evolvent.records import Prompt

TokenText = Callable[[Sequence[int]], str]

BROKEN = "\ufffd"
MAX_HALF = 3  # bytes of a character in UTF-8 that can wait for their last one
MAX_WAITING = 32  # tokens; only bytes that are no text at all come to so many


class Transcript:
    """The text of a growing row; the pieces of all tokens together are the text of the whole."""

    def __init__(self, text: TokenText) -> None:
        self._text = text
        self._known: list[int] = []  # tokens whose text is out: some tokenizers write a word by what stands before it
        self._before = ""
        self._waiting: list[int] = []
        self._num_given = 0  # characters of the waiting tokens that are out

    def add(self, token: int) -> str:
        """The text that is certain now and was not before; a broken end is not."""
        self._waiting.append(token)
        text = self._seen()
        whole = text.rstrip(BROKEN)
        whole = text[: max(len(whole), len(text) - MAX_HALF)]
        piece = whole[self._num_given :]
        self._num_given += len(piece)
        if whole == text or len(self._waiting) > MAX_WAITING:
            piece += text[len(whole) :]
            self._known, self._waiting, self._num_given = self._waiting, [], 0
            self._before = self._text(self._known)
        return piece

    def rest(self) -> str:
        """What is left when no more tokens come."""
        return self._seen()[self._num_given :] if self._waiting else ""

    def _seen(self) -> str:
        return self._text([*self._known, *self._waiting])[len(self._before) :]


class Stops:
    """A watch that ends rows whose text contains one of their stop strings; `found` are the rows that did."""

    def __init__(self, prompts: Sequence[Prompt], text: TokenText, watch: Watch | None = None) -> None:
        self.found: set[int] = set()
        self._watch = watch
        self._tails = {row: Tail(prompt.stops, text) for row, prompt in enumerate(prompts) if prompt.stops}

    def __call__(self, step: Step) -> Collection[int]:
        """Rows that end here, those of the watch behind this one included."""
        for row, token in zip(step.rows, step.tokens, strict=True):
            if row in self._tails and self._tails[row].meets(token):
                self.found.add(row)
        more = self._watch(step) if self._watch is not None else ()
        return self.found.union(more) if more else self.found


class Tail:
    """The end of a row's text, as long as a stop string that is not complete yet can be."""

    def __init__(self, stops: Sequence[str], text: TokenText) -> None:
        self._stops, self._transcript, self._tail = stops, Transcript(text), ""
        self._reach = max(map(len, stops)) - 1

    def meets(self, token: int) -> bool:
        """Whether this token completes a stop string."""
        self._tail += self._transcript.add(token)
        if any(stop in self._tail for stop in self._stops):
            return True
        self._tail = self._tail[len(self._tail) - self._reach :] if self._reach < len(self._tail) else self._tail
        return False


def first_stop(text: str, stops: Sequence[str]) -> int:
    """Where the earliest stop string begins; the length of the text where there is none."""
    return min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))


def renumbered(watch: Watch, start: int) -> Watch:
    """The watch of a slice of its rows, which begins at row `start`."""

    def hears(step: Step) -> Collection[int]:
        over = watch(replace(step, rows=[row + start for row in step.rows]))
        return {row - start for row in over}

    return hears
