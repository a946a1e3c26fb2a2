"""Counts a compressor's success exactly: bits per byte of text, bytes of a token, bytes of an artifact."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evolvent.errors import BadInput

SPACE = "\u2581"  # how SentencePiece writes the space before a word
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def bits_per_byte(mean_nats: float, num_tokens: int, num_bytes: int) -> float:
    """Mean nats of a token, over the bytes that the tokens stand for.

    >>> round(bits_per_byte(math.log(256), 1000, 1000), 12)
    8.0
    """
    if num_tokens < 1 or num_bytes < 1 or not 0 <= mean_nats < math.inf:
        got = f"{mean_nats} nats, {num_tokens} tokens, {num_bytes} bytes"
        raise BadInput("no bits per byte", where="golf", got=got, wanted="nats >= 0, tokens and bytes > 0")
    return mean_nats / math.log(2) * num_tokens / num_bytes


def bits_of_code(num_code_bytes: int, num_text_bytes: int) -> float:
    """What a text costs that was restored from so many bytes alone.

    >>> bits_of_code(1000, 1000), bits_of_code(0, 10)
    (8.0, 0.0)
    """
    if num_code_bytes < 0 or num_text_bytes < 1:
        raise BadInput("no bits per byte", where="golf", got=f"{num_code_bytes} bytes for {num_text_bytes}")
    return 8 * num_code_bytes / num_text_bytes


def artifact_bytes(files: Mapping[str, bytes]) -> int:
    """The size of an artifact: every byte of its code and its weights, as they are pushed."""
    return sum(len(data) for data in files.values())


@dataclass(frozen=True)
class TokenBytes:
    """How many bytes of text each token of a SentencePiece vocabulary stands for.

    A piece counts its bytes without the space mark, and one for the space unless the token before is a boundary: there
    the tokenizer wrote a mark and the text has no space. Boundary tokens (controls, unknown, unused) stand for nothing,
    pieces such as `<0x0A>` for one byte.
    """

    sizes: tuple[int, ...]
    has_space: tuple[bool, ...]
    is_boundary: tuple[bool, ...]

    @classmethod
    def of(cls, pieces: Sequence[str], boundaries: frozenset[int]) -> TokenBytes:
        """From the pieces of a vocabulary and the numbers of its boundary tokens."""
        ends = tuple(i in boundaries for i in range(len(pieces)))
        spaces = tuple(piece.startswith(SPACE) and not end for piece, end in zip(pieces, ends, strict=True))
        sizes = tuple(0 if end else _size(piece) for piece, end in zip(pieces, ends, strict=True))
        return cls(sizes, spaces, ends)

    def count(self, tokens: Sequence[int], before: int | None = None) -> int:
        """The bytes of a row of tokens after the token `before`; None is the start of a document, a boundary."""
        total = 0
        follows_boundary = before is None or self.is_boundary[before]
        for token in tokens:
            total += self.sizes[token] + (self.has_space[token] and not follows_boundary)
            follows_boundary = self.is_boundary[token]
        return total


def _size(piece: str) -> int:
    return 1 if _BYTE.fullmatch(piece) else len(piece.removeprefix(SPACE).encode())
