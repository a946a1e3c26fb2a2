"""Turns messages and tools into the JSON of OpenAI's chat API, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from evolvent.errors import BadInput
from evolvent.records import Image, Message, Text, Tool, ToolCall, ToolResult, said

Json = dict[str, Any]

UNREADABLE = "unreadable_call"
"""The argument under which a call that nobody could read travels: servers refuse a history with broken JSON."""

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}


def messages_to_wire(messages: Sequence[Message]) -> list[Json]:
    """Messages for a request; call ids are made from places, since our records match results by order and name."""
    wire: list[Json] = []
    waiting: list[tuple[str, str]] = []
    for place, message in enumerate(messages):
        if message.role == "assistant":
            sent = message_to_wire(message, f"call_{place}", raw_calls=False)
            waiting = [(c["function"]["name"], c["id"]) for c in sent.get("tool_calls", ())]
            wire.append(sent)
            continue
        words = "".join(_words(block, place) for block in message.blocks if not isinstance(block, ToolResult))
        results = [block for block in message.blocks if isinstance(block, ToolResult)]
        wire.extend(_result_to_wire(result, waiting) for result in results)
        if words or not results:
            wire.append({"role": "user" if message.role == "tool" else message.role, "content": words})
    return wire


def message_to_wire(message: Message, call_prefix: str, *, raw_calls: bool) -> Json:
    """One assistant message; an unreadable call goes as it was written (`raw_calls`) or as valid JSON around it."""
    words = "".join(_words(b, 0) for b in message.blocks if isinstance(b, Text | Image))
    wire: Json = {"role": "assistant", "content": words if words or not message.calls else None}
    calls = [_call_to_wire(call, f"{call_prefix}_{k}", raw=raw_calls) for k, call in enumerate(message.calls)]
    return {**wire, "tool_calls": calls} if calls else wire


def tools_to_wire(tools: Sequence[Tool]) -> list[Json]:
    """Tools for a request."""
    return [
        {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.parameters}}
        for t in tools
    ]


def messages_from_wire(wire: object) -> tuple[Message, ...]:
    """The messages of a request, every field read or refused."""
    if not isinstance(wire, list) or not wire:
        raise BadInput("no messages", where="messages", got=_kind(wire), wanted="a list of at least one message")
    messages: list[Message] = []
    names: dict[str, str] = {}
    for place, entry in enumerate(wire):
        where = f"messages[{place}]"
        role = ROLES.get(str(entry.get("role"))) if isinstance(entry, dict) else None
        if role is None:
            raise BadInput("not a message", where=where, got=repr(entry)[:200], wanted=f"a role among {list(ROLES)}")
        _refuse_others(entry, _ALLOWED[role], where)
        if role == "tool":
            messages.append(Message("tool", (_result_from_wire(entry, names, where),)))
        elif role == "assistant":
            messages.append(message_from_wire(entry, where))
            names.update(_call_names(entry))
        else:
            messages.append(said(role, _content(entry.get("content"), f"{where}.content")))
    return tuple(messages)


def message_from_wire(entry: Mapping[str, Any], where: str = "message") -> Message:
    """An assistant message; a call that cannot be read keeps its words and has no arguments."""
    calls = entry.get("tool_calls") or []
    if not isinstance(calls, list):
        raise BadInput("tool calls are not a list", where=f"{where}.tool_calls", got=_kind(calls))
    words = _content(entry.get("content"), f"{where}.content") if entry.get("content") is not None else ""
    read = tuple(_call_from_wire(call) for call in calls)
    return Message("assistant", ((Text(words),) if words else ()) + read)


def tools_from_wire(wire: object) -> tuple[Tool, ...]:
    """The tools of a request."""
    if not isinstance(wire, list):
        raise BadInput("tools are not a list", where="tools", got=_kind(wire), wanted="a list of functions")
    tools = tuple(_tool_from_wire(entry, f"tools[{place}]") for place, entry in enumerate(wire))
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        raise BadInput("two tools have the same name", where="tools", got=", ".join(names), wanted="distinct names")
    return tools


_ALLOWED = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls"},
    "tool": {"role", "content", "tool_call_id", "name"},
}


def _words(block: Text | Image | ToolCall | ToolResult, place: int) -> str:
    if isinstance(block, Text):
        return block.text
    raise BadInput(
        f"an endpoint cannot be sent {_kind(block)}",
        where=f"messages[{place}]",
        wanted="text, tool calls of the assistant, tool results",
        cure="use a policy that sees pictures" if isinstance(block, Image) else "give the call to the assistant",
    )


def _result_to_wire(result: ToolResult, waiting: list[tuple[str, str]]) -> Json:
    """A tool's answer, paired with the first call of its name, else with the first that waits."""
    if not waiting:
        return {"role": "user", "content": result.text}
    found = next((pair for pair in waiting if pair[0] == result.name), waiting[0])
    waiting.remove(found)
    return {"role": "tool", "tool_call_id": found[1], "content": result.text}


def _call_to_wire(call: ToolCall, call_id: str, *, raw: bool) -> Json:
    if call.arguments is not None:
        arguments = json.dumps(call.arguments, ensure_ascii=False)
    else:
        arguments = call.raw if raw else json.dumps({UNREADABLE: call.raw}, ensure_ascii=False)
    return {"id": call_id, "type": "function", "function": {"name": call.name or UNREADABLE, "arguments": arguments}}


def _call_from_wire(call: object) -> ToolCall:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        return ToolCall("", None, raw=json.dumps(call, ensure_ascii=False))
    name = "" if function["name"] == UNREADABLE else function["name"]
    written = function.get("arguments")
    if written is None or written == "":
        return ToolCall(name, {})  # a function without parameters: several servers leave the text empty
    if isinstance(written, str):
        try:
            arguments = json.loads(written)
        except (ValueError, RecursionError):
            return ToolCall(name, None, raw=written)
    else:
        arguments, written = written, json.dumps(written, ensure_ascii=False)
    if not isinstance(arguments, dict):
        return ToolCall(name, None, raw=written)
    if set(arguments) == {UNREADABLE}:
        return ToolCall(name, None, raw=str(arguments[UNREADABLE]))
    return ToolCall(name, arguments, raw=written)


def _call_names(entry: Mapping[str, Any]) -> dict[str, str]:
    """Names of the called functions by call id; the malformed ones too, so that their answers find them."""
    calls = [c for c in entry.get("tool_calls") or [] if isinstance(c, dict) and isinstance(c.get("id"), str)]
    return {c["id"]: call.name for c in calls for call in (_call_from_wire(c),)}


def _result_from_wire(entry: Mapping[str, Any], names: Mapping[str, str], where: str) -> ToolResult:
    call_id = entry.get("tool_call_id")
    if call_id not in names:
        raise BadInput(
            "a tool's answer belongs to no call",
            where=f"{where}.tool_call_id",
            got=repr(call_id),
            wanted=f"the id of a call made before: {', '.join(names) or 'there is none'}",
        )
    return ToolResult(names[str(call_id)], _content(entry.get("content"), f"{where}.content"))


def _content(content: object, where: str) -> str:
    """Words, given as a string or as text parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [p.get("text") if isinstance(p, dict) and p.get("type") == "text" else None for p in content]
        if all(isinstance(part, str) for part in parts):
            return "".join(str(part) for part in parts)
    raise BadInput("content cannot be read", where=where, got=repr(content)[:200], wanted="a string or text parts")


def _tool_from_wire(entry: object, where: str) -> Tool:
    function = entry.get("function") if isinstance(entry, dict) and entry.get("type") == "function" else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise BadInput(
            "not a tool", where=where, got=repr(entry)[:200], wanted='{"type": "function", "function": {..}}'
        )
    if isinstance(function.get("strict"), bool):  # a wish about how calls are decoded; one that does not fit is told
        function = {key: value for key, value in function.items() if key != "strict"}
    _refuse_others(function, {"name", "description", "parameters"}, f"{where}.function")
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    if not isinstance(parameters, dict):
        raise BadInput("not a JSON schema", where=f"{where}.function.parameters", got=_kind(parameters))
    return Tool(function["name"], str(function.get("description") or ""), parameters)


def _refuse_others(entry: Mapping[str, Any], allowed: set[str], where: str) -> None:
    """Clients send back what they got, nulls included; anything else that is unknown has a meaning we would lose."""
    others = sorted(key for key, value in entry.items() if key not in allowed and value not in (None, [], ()))
    if others:
        raise BadInput(
            f"field {others[0]!r} is not supported", where=f"{where}.{others[0]}", wanted=", ".join(sorted(allowed))
        )


def _kind(value: object) -> str:
    return type(value).__name__
