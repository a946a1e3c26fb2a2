"""Lets any policy say what tools of a world need and tell, where the tools do not say it as data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from evolvent.envs.databases import AnyTool, Column, Database, PythonTool, Table
from evolvent.envs.databases.records import as_shown
from evolvent.policies.policy import Policy
from evolvent.records import Sampling
from evolvent.synthesis.asking import ask, read_json
from evolvent.synthesis.tool_graph import ID_WORDS, Kind, Node, ToolGraph, connect, names_match

BATCH, DESCRIPTION_CHARS, SOURCE_CHARS = 12, 400, 1200  # Agent-World's released generator
HOW = Sampling(max_tokens=6000, temperature=0.2)

ASKED = """These are tools of one service. For each of them say what kind of operation it is, which fields it needs, \
which fields its reply holds, and which of the other tools it depends on.
A dependency is strong where a needed field can only come from the other tool's reply, weak where it could also be \
looked up elsewhere, independent otherwise. Leave independent ones out.

Tools:
{tools}

Names of all tools of the service: {names}

Reply with one JSON list and nothing else, one object a tool:
[{{"tool": "name", "operation": "query" | "mutation" | "both", "inputs": ["field"], "outputs": ["field"],
  "dependencies": [{{"tool": "other", "type": "strong" | "weak", "field": "field that links them"}}]}}]"""


@dataclass(frozen=True)
class _Said:
    """What a policy said of one tool."""

    does: Literal["query", "mutation", "both"]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    needs: tuple[tuple[str, Kind], ...]


async def analyse(database: Database, policy: Policy, how: Sampling = HOW) -> ToolGraph:
    """The graph of a world as a policy sees it, asked about 12 tools at a time.

    A tool that it skips, or of which it says what cannot be read, keeps the inputs of its schema and no dependency.
    """
    tools = database.tools
    batches = [tools[start : start + BATCH] for start in range(0, len(tools), BATCH)]
    names = ", ".join(tool.name for tool in tools)
    words = [ASKED.format(tools="\n".join(map(_told, batch)), names=names) for batch in batches]
    said: dict[str, _Said] = {}
    for batch, reply in zip(batches, await ask(policy, words, how, "analyse", database.name), strict=True):
        said |= _read(read_json(reply), {tool.name for tool in batch}, {tool.name for tool in tools})
    nodes = tuple(_node(tool, said.get(tool.name)) for tool in tools)
    kinds = {(before, name): kind for name, one in said.items() for before, kind in one.needs if before != name}
    columns = tuple((f"{t.name}.{c.name}", _meaning(t, c)) for t in database.tables for c in t.columns)
    skipped = tuple(tool.name for tool in tools if tool.name not in said)
    return ToolGraph(nodes, connect(nodes, kinds, names_match), columns, skipped)


def _meaning(table: Table, column: Column) -> str:
    """The name of a column, that of its table before it where it says no more than that it is a key."""
    return f"{table.name}_{column.name}" if column.name.lower() in ID_WORDS else column.name


def _told(tool: AnyTool) -> str:
    shown = as_shown(tool)
    source = tool.source if isinstance(tool, PythonTool) else "; ".join(s.sql for s in tool.statements)
    told = {
        "name": tool.name,
        "description": tool.description[:DESCRIPTION_CHARS],
        "parameters": shown.parameters["properties"],
        "source": source[:SOURCE_CHARS],
    }
    return json.dumps(told, ensure_ascii=False)


def _node(tool: AnyTool, said: _Said | None) -> Node:
    """Names are their own meaning; the parameters are those of the schema, whatever was said."""
    inputs = tuple((parameter.name, parameter.name) for parameter in tool.parameters)
    if said is None:
        return Node(tool.name, "query", inputs)
    return Node(tool.name, said.does, inputs, tuple((name, name) for name in said.outputs))


def _read(reply: Any, asked: set[str], known: set[str]) -> dict[str, _Said]:
    found = {}
    for one in reply if isinstance(reply, list) else []:
        if isinstance(one, Mapping) and one.get("tool") in asked and one.get("operation") in _OPERATIONS:
            needs = tuple(_dependencies(one.get("dependencies"), known))
            found[str(one["tool"])] = _Said(
                _OPERATIONS[one["operation"]], _names(one.get("inputs")), _names(one.get("outputs")), needs
            )
    return found


_OPERATIONS: dict[str, Literal["query", "mutation", "both"]] = {
    "query": "query",
    "mutation": "mutation",
    "both": "both",
}
_KINDS: dict[str, Kind] = {"strong": "strong", "weak": "weak"}


def _dependencies(given: Any, known: set[str]) -> list[tuple[str, Kind]]:
    if not isinstance(given, Sequence) or isinstance(given, str):
        return []
    return [
        (str(one["tool"]), _KINDS[one["type"]])
        for one in given
        if isinstance(one, Mapping) and one.get("tool") in known and one.get("type") in _KINDS
    ]


def _names(given: Any) -> tuple[str, ...]:
    return tuple(name for name in given if isinstance(name, str)) if isinstance(given, list) else ()
