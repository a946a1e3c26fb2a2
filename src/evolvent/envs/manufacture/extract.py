"""Takes JSON and Python out of what a model wrote around them, or says what is wrong in words that it can act on."""

from __future__ import annotations

import json
import re
from typing import Any

from evolvent.errors import BadInput

FENCE = re.compile(r"```[ \t]*([A-Za-z0-9_+-]*)[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)
THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)


def extract_json(words: str) -> Any:
    """The last whole JSON object or list: of a fenced block where there is one, else of the bare words."""
    words = THOUGHT.sub("", words)
    blocks = [body for kind, body in FENCE.findall(words) if kind.lower() in ("json", "")]
    faults = []
    for text in (*reversed(blocks), words):
        try:
            return _first_value(text)
        except ValueError as error:
            faults.append(str(error))
    raise BadInput("no JSON that can be read", got=faults[0], wanted="one ```json block with an object or a list")


def extract_python(words: str, function: str) -> str:
    """The fenced block that defines the function, else the bare words where they are code from their first line on."""
    words = THOUGHT.sub("", words)
    blocks: list[str] = [body for kind, body in FENCE.findall(words) if kind.lower() in ("python", "py", "python3", "")]
    if not blocks and re.match(r"\s*(def|import|from) ", words):
        blocks = [words]
    for body in blocks:
        if re.search(rf"^def {re.escape(function)}\(", body, re.MULTILINE):
            return body.strip() + "\n"
    raise BadInput(f"no Python block defines {function}", wanted=f"one ```python block with `def {function}(db, ...)`")


def _first_value(text: str) -> Any:
    """The first object or list of a text, which may go on behind it."""
    starts = [at for at in (text.find("{"), text.find("[")) if at >= 0]
    if not starts:
        raise ValueError("there is neither { nor [")
    try:
        value, _ = json.JSONDecoder(strict=False).raw_decode(text, min(starts))
    except json.JSONDecodeError as error:
        near = text[max(0, error.pos - 20) : error.pos + 20]
        raise ValueError(f"{error.msg} near {near!r}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value
