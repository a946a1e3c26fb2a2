"""Reads a tool call as a policy wrote it; what cannot be read keeps its words in `raw`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from evolvent.records import Tool, ToolCall


def read_call(body: str) -> ToolCall:
    """A call in JSON: `name {arguments}`, or `{"name": .., "arguments": ..}` as most templates write it."""
    text = body.strip()
    name, _, rest = ("", "", text) if text.startswith("{") else text.partition(" ")
    data = read_json(rest)
    if not name and isinstance(data, dict):
        name, data = str(data.get("name", "")), data.get("arguments", data.get("parameters"))
    return ToolCall(name, data if isinstance(data, dict) else None, raw=body)


def read_bare(body: str, tools: Sequence[Tool]) -> ToolCall:
    """The argument alone where one tool with one string parameter is on offer, else as `read_call`."""
    only = _only_parameter(tools)
    return read_call(body) if only is None else ToolCall(tools[0].name, {only: body}, raw=body)


def read_json(text: str) -> Any:
    """The value of a JSON text whose strings can all be encoded; None where it cannot be read."""
    try:
        data = json.loads(text)
        plain = json.dumps(data, ensure_ascii=False)
    except (ValueError, RecursionError):  # a number of 5000 digits and 1000 open brackets are bad calls, not crashes
        return None
    whole = well_formed(plain)
    return data if whole == plain else json.loads(whole)


def well_formed(text: str) -> str:
    """The text with `?` for halves of surrogate pairs, which no encoding can carry."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _only_parameter(tools: Sequence[Tool]) -> str | None:
    if len(tools) != 1:
        return None
    properties = tools[0].parameters.get("properties", {})
    if len(properties) != 1:
        return None
    name, schema = next(iter(properties.items()))
    return str(name) if schema.get("type") == "string" else None
