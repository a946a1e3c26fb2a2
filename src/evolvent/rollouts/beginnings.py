"""What makes two conversations one: a form for every message, and a name for every beginning.

Clients send back what they got with other white space, arguments spelt anew, and names for what could not be read; none
of that makes a message another one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from evolvent.records import Message, Tool, ToolCall, ToolResult

MAX_CHARS = 160  # of a message in a note


def form_of(message: Message) -> str:
    """What makes two messages one: role, words but for the white space around them, calls by parsed arguments."""
    calls = [[call.name, _arguments(call)] for call in message.calls]
    names = [block.name for block in message.blocks if isinstance(block, ToolResult)]
    told = [message.role, message.text.strip(), *([calls] if calls else []), *names]
    return json.dumps(told, ensure_ascii=False, sort_keys=True, default=list)


def _arguments(call: ToolCall) -> object:
    """The arguments of a call; those that could not be read as the wire gives them back: JSON where they are JSON."""
    if call.arguments is not None:
        return dict(call.arguments)
    try:
        found = json.loads(call.raw or "{}")
    except (ValueError, RecursionError):
        return call.raw.strip()
    return found if isinstance(found, dict) else call.raw.strip()


def form_of_tools(tools: Sequence[Tool]) -> str:
    """What makes two offers of tools one."""
    return json.dumps([[t.name, t.description, t.parameters] for t in tools], sort_keys=True, default=dict)


def name_beginnings(tools: str, forms: Sequence[str]) -> list[str]:
    """A name for every beginning of a conversation."""
    names, last = [], digest(tools)
    for form in forms:
        last = digest(last + form)
        names.append(last)
    return names


def digest(text: str) -> str:
    """A short name for a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def num_common(one: Sequence[str], other: Sequence[str]) -> int:
    """How long two rows are the same from their beginning."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def shorten(text: str) -> str:
    """A text as a note has room for it."""
    return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 3] + "..."
