"""Turns Markdown of strangers into HTML that can do nothing: no raw HTML, no images, links only to the web."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

MAX_CHARS = 20_000
REL = "nofollow ugc noopener noreferrer"


def prose(text: str | None, level: int = 3) -> Markup:
    """A text as HTML whose headings begin at `level` and never skip one; cut after 20,000 characters."""
    return _render(_reader(False), text, level)


def talk(text: str | None, level: int = 3) -> Markup:
    """The same of a message, which has its lines where its writer ended them."""
    return _render(_reader(True), text, level)


def _render(reader: MarkdownIt, text: str | None, level: int) -> Markup:
    said = text or ""
    more = f"\n\n\u2026 and {len(said) - MAX_CHARS:,} more characters" if len(said) > MAX_CHARS else ""
    tokens = reader.parse(said[:MAX_CHARS] + more)
    _settle_headings(tokens, level)
    return Markup(reader.renderer.render(tokens, reader.options, {}))


@functools.cache
def _reader(breaks: bool) -> MarkdownIt:
    from markdown_it import MarkdownIt

    reader = (
        MarkdownIt("commonmark", {"html": False, "breaks": breaks, "maxNesting": 12}).enable("table").disable("image")
    )
    reader.validateLink = _leads_to_the_web  # type: ignore[method-assign]
    reader.add_render_rule("link_open", _open_link)
    return reader


def _leads_to_the_web(url: str) -> bool:
    return url.lower().startswith(("https://", "http://"))


def _open_link(self: Any, tokens: Sequence[Token], place: int, options: Any, env: Any) -> str:
    tokens[place].attrSet("rel", REL)
    return str(self.renderToken(tokens, place, options, env))


def _settle_headings(tokens: Sequence[Token], level: int) -> None:
    last = level - 1
    for token in tokens:
        if token.type == "heading_open":
            last = min(last + 1, level - 1 + int(token.tag[1]), 6)
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{last}"
