"""Turns a plain Python function into a Tool that a model can call, and says what is wrong with a call."""

from __future__ import annotations

import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

from evolvent.errors import BadInput, ToolError, nearest
from evolvent.records import Tool

_SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}
_WORDS = {
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def as_tool(function: Callable[..., Any]) -> Tool:
    """A Tool from the signature and docstring of a function, or of an object with `__call__`.

    The first paragraph of the docstring is the description; later lines `name: words` describe parameters.
    """
    # every episode asks again for its plain functions; an object with state is looked at anew
    return _described_once(function) if isinstance(function, types.FunctionType) else _described(function)


def _described(function: Callable[..., Any]) -> Tool:
    name, hints = tool_name(function), _hints(function)
    description, notes = _words(function)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise BadInput(
                f"tool {name} cannot be called by name",
                got=f"parameter {parameter}",
                wanted="parameters that can be given by name",
                cure="name every parameter, without *args, **kwargs or /",
            )
        schema = _schema(hints.get(parameter.name, str), f"{name}({parameter.name})")
        if parameter.name in notes:
            schema["description"] = notes[parameter.name]
        if parameter.default is parameter.empty:
            required.append(parameter.name)
        elif isinstance(parameter.default, str | int | float | bool | None):
            schema["default"] = parameter.default
        properties[parameter.name] = schema
    return Tool(name, description, {"type": "object", "properties": properties, "required": required})


_described_once = lru_cache(maxsize=1024)(_described)


def tool_name(function: Callable[..., Any]) -> str:
    """The name under which a model calls `function`: its `name`, else its own name, else that of its class."""
    name = getattr(function, "name", None) or getattr(function, "__name__", None)
    return str(name or type(function).__name__.lower())


def pick(tools: Sequence[Tool], name: str) -> Tool:
    """The tool of that name, or a ToolError that names the nearest ones."""
    for tool in tools:
        if tool.name == name:
            return tool
    known = [tool.name for tool in tools]
    raise ToolError(f"there is no tool {name!r}", cure=nearest(name, known) if known else "answer without a tool")


def validate(tool: Tool, arguments: Mapping[str, Any]) -> None:
    """Raise a ToolError in words that an agent can act on, unless `arguments` fit the tool."""
    properties: Mapping[str, Any] = tool.parameters.get("properties", {})
    required = list(tool.parameters.get("required", ()))
    wanted = f"{tool.name}({', '.join(properties)})"
    for name in arguments:
        if name not in properties:
            cure = nearest(name, list(properties)) if properties else "call it without arguments"
            raise ToolError(f"{tool.name} has no argument {name!r}", wanted=wanted, cure=cure)
    missing = [name for name in required if name not in arguments]
    if missing:
        raise ToolError(f"{tool.name} needs {', '.join(map(repr, missing))}", wanted=wanted)
    for name, value in arguments.items():
        complaint = _complaint(properties[name], value)
        if complaint:
            raise ToolError(f"{tool.name}: {name!r} {complaint}", wanted=wanted)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    plain = inspect.isfunction(function) or inspect.ismethod(function)
    target = function if plain else type(function).__call__
    try:
        return typing.get_type_hints(target)
    except NameError as error:
        raise BadInput(
            f"the types of tool {tool_name(function)} cannot be read",
            got=str(error),
            cure="import the types of its parameters at the top of its module",
        ) from error


def _words(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    plain = inspect.isfunction(function) or inspect.ismethod(function)
    text = inspect.getdoc(function if plain else type(function).__call__) or inspect.getdoc(type(function)) or ""
    first, _, rest = text.partition("\n\n")
    notes = dict(re.findall(r"^\s*(\w+):\s+(.+)$", rest, flags=re.MULTILINE))
    return " ".join(first.split()), notes


def _schema(hint: Any, where: str) -> dict[str, Any]:
    if hint in _SIMPLE:
        return {"type": _SIMPLE[hint]}
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        kinds = {_SIMPLE.get(type(part)) for part in parts}
        kind = kinds.pop() if len(kinds) == 1 else None
        return ({"type": kind} if kind else {}) | {"enum": list(parts)}
    if origin in (list, Sequence, tuple):
        return {"type": "array", "items": _schema(parts[0] if parts else str, where)}
    if origin in (dict, Mapping):
        return {"type": "object"}
    if origin in (typing.Union, types.UnionType):
        known = [_schema(part, where) for part in parts if part is not types.NoneType]
        optional = [{"type": "null"}] if types.NoneType in parts else []
        return {"anyOf": known + optional} if len(known) + len(optional) > 1 else known[0]
    raise BadInput(
        f"the type of {where} has no JSON schema",
        got=hint,
        wanted="str, int, float, bool, list, dict, Literal[...] or Optional of these",
    )


def _complaint(schema: Mapping[str, Any], value: Any) -> str:
    """What is wrong with a value; empty where nothing is."""
    if "anyOf" in schema:
        complaints = [_complaint(option, value) for option in schema["anyOf"]]
        return "" if "" in complaints else complaints[0]
    if "enum" in schema:
        fits = any(value == option and type(value) is type(option) for option in schema["enum"])
        return "" if fits else f"is {_shown(value)}, wanted one of {', '.join(map(_shown, schema['enum']))}"
    kind = schema.get("type", "")
    if not _is_kind(kind, value):
        return f"is {_shown(value)}, wanted {_WORDS[kind]}{_number_cure(kind, value)}"
    if kind == "array":
        for position, item in enumerate(value):
            inner = _complaint(schema.get("items", {}), item)
            if inner:
                return f"item {position} {inner}"
    return ""


def _is_kind(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind in ("boolean", "")
    if kind == "number":
        return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    expected = {"string": str, "integer": int, "array": list | tuple, "object": Mapping, "null": types.NoneType}
    return kind == "" or (kind in expected and isinstance(value, expected[kind]))


def _number_cure(kind: str, value: Any) -> str:
    if kind in ("integer", "number") and isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value.strip()):
        return f": write {value.strip()} without quotes"
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return f": write {value:.0f}"
    if kind == "string" and isinstance(value, int | float) and not isinstance(value, bool):
        return f': write "{value}" in quotes'
    return ""


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
