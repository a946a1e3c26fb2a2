"""Reads what a caller wants run: Python source, or the words of a command."""

from __future__ import annotations

from collections.abc import Sequence

from evolvent.errors import BadInput


def source_of(code: str | Sequence[str]) -> bytes | None:
    """Source as bytes, None where it is a command; what is no text is left for the interpreter to refuse."""
    return code.encode("utf-8", "surrogatepass") if isinstance(code, str) else None


def command_of(code: str | Sequence[str]) -> list[str]:
    """The words of a command, none where it is source; BadInput where they are no command."""
    if isinstance(code, str):
        return []
    if not code or not all(isinstance(word, str) and "\0" not in word for word in code) or not code[0]:
        raise BadInput(
            "a command is a sequence of texts without a NUL, and the first is its name", got=ascii(list(code)),
            wanted='for example ["ls", "-l"]',
        )  # fmt: skip
    return list(code)
