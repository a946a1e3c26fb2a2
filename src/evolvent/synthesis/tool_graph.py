"""Turns the tools of a world into a graph of which one feeds which, and walks it: Agent-World, arXiv:2604.18292."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Literal

from evolvent.envs.databases import Database, SqlTool
from evolvent.errors import BadInput

Kind = Literal["strong", "weak", "independent"]
Weights = Mapping[str, float]
WEIGHTS: Weights = MappingProxyType({"strong": 3, "weak": 2, "independent": 1})
SHORTEST, LONGEST = 3, 8
MIN_COMMON_CHARS = 3  # of a name that is part of another
ID_WORDS = ("id", "ids", "key", "uuid", "ref", "code", "no", "num", "number")


@dataclass(frozen=True)
class Node:
    """A tool: what its parameters and the fields of its observations mean, as (name, meaning).

    An output without a name is a bare value. Equal meanings say that one may be given where the other is needed.
    """

    tool: str
    does: Literal["query", "mutation", "both"]
    inputs: tuple[tuple[str, str], ...] = ()
    outputs: tuple[tuple[str, str], ...] = ()

    @property
    def returns_data(self) -> bool:
        """Whether it tells something."""
        return self.does != "mutation" and bool(self.outputs)


@dataclass(frozen=True)
class Edge:
    """One tool may come after another: how strongly it needs it, and which (output, input) fields link them."""

    before: str
    after: str
    kind: Kind
    pairs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ToolGraph:
    """Tools and dependencies; `columns` says what each TABLE.COLUMN means, `skipped` which tools nobody analysed."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    columns: tuple[tuple[str, str], ...] = ()
    skipped: tuple[str, ...] = ()

    def node(self, tool: str) -> Node:
        """The node of a tool."""
        return self._nodes[tool]

    def after(self, tool: str) -> tuple[Edge, ...]:
        """The edges that leave a tool."""
        return self._after.get(tool, ())

    @cached_property
    def starts(self) -> tuple[str, ...]:
        """Tools that return data and have no strong predecessor; where none is so, all that return data."""
        needy = {edge.after for edge in self.edges if edge.kind == "strong"}
        telling = [node.tool for node in self.nodes if node.returns_data]
        return tuple(tool for tool in telling if tool not in needy) or tuple(telling)

    @cached_property
    def _nodes(self) -> dict[str, Node]:
        return {node.tool: node for node in self.nodes}

    @cached_property
    def _after(self) -> dict[str, tuple[Edge, ...]]:
        found: dict[str, list[Edge]] = {}
        for edge in self.edges:
            found.setdefault(edge.before, []).append(edge)
        return {tool: tuple(edges) for tool, edges in found.items()}


def graph_of(database: Database) -> ToolGraph:
    """The graph of a world whose tools say as data what they do.

    A key that one tool alone tells makes those that need it depend strongly on it; one that several tell, or any other
    column that one tells and another needs, weakly.
    """
    mute = [t.name for t in database.tools if not isinstance(t, SqlTool) or t.operation is None]
    if mute:
        raise BadInput(
            "tools that do not say what they do",
            where=database.name,
            got=", ".join(mute[:5]),
            wanted="SqlTool(operation=...)",
            cure="let a policy analyse them: evolvent.synthesis.tool_analysis.analyse",
        )
    columns = meanings(database)
    nodes = tuple(_node(tool, columns) for tool in database.tools if isinstance(tool, SqlTool))
    keys = {columns[f"{table.name}.{table.key}"] for table in database.tables}
    kinds: dict[tuple[str, str], Kind] = {}
    for before in nodes:
        for after in nodes:
            if before is not after and (shared := told_by(before) & {m for _, m in after.inputs}):
                sole = any(_tells_alone(before, meaning, nodes) for meaning in shared & keys)
                kinds[before.tool, after.tool] = "strong" if sole else "weak"
    return ToolGraph(nodes, connect(nodes, kinds, str.__eq__), tuple(columns.items()))


def connect(
    nodes: Sequence[Node], kinds: Mapping[tuple[str, str], Kind], matches: Callable[[str, str], bool]
) -> tuple[Edge, ...]:
    """Edges of every pair of tools: weak ones go both ways, a strong one only forwards, all others are independent."""
    edges = []
    for before in nodes:
        for after in nodes:
            if before is after:
                continue
            forward, back = kinds.get((before.tool, after.tool)), kinds.get((after.tool, before.tool))
            kind: Kind = "strong" if forward == "strong" else "weak" if "weak" in (forward, back) else "independent"
            if kind == "independent" and back == "strong":
                continue
            pairs = [(o, i) for o in sorted(told_by(before)) for _, i in after.inputs if matches(o, i)]
            edges.append(Edge(before.tool, after.tool, kind, tuple(pairs)))
    return tuple(edges)


def told_by(node: Node) -> set[str]:
    """What the fields of a tool's observations mean."""
    return {meaning for _, meaning in node.outputs}


def meanings(database: Database) -> dict[str, str]:
    """What each TABLE.COLUMN means: a key and all that refer to it the same thing, every other column its own."""
    found = {}
    for table in database.tables:
        for column in table.columns:
            target = database.table(column.references) if column.references else table
            is_key = bool(column.references) or column.name == table.key
            word = "key" if is_key else database.word(table.name, column.name)
            found[f"{table.name}.{column.name}"] = f"{database.word(target.name)}.{word}"
    return found


def names_match(output: str, needed: str) -> bool:
    """Whether field names may mean the same: equal, ids with stems of which one holds the other, or part of another."""
    one, other = words_in(output), words_in(needed)
    left, right = "".join(one), "".join(other)
    if not left or not right or left == right:
        return bool(left) and left == right
    if one[-1] in ID_WORDS and other[-1] in ID_WORDS:
        return _holds("".join(one[:-1]), "".join(other[:-1]))
    return min(len(left), len(right)) >= MIN_COMMON_CHARS and _holds(left, right)


def words_in(name: str) -> list[str]:
    """The words of a name in small letters, whatever joins them."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return [word for word in re.split(r"[^a-z0-9]+", parted.lower()) if word]


# ---------------------------------------------------------------- walks

Form = Callable[[Collection[Edge], Weights], dict[str, float]]


def paper_form(edges: Collection[Edge], weights: Weights = WEIGHTS) -> dict[str, float]:
    """P(j | i) proportional to the weight of the edge."""
    return _normal({edge.after: weights[edge.kind] for edge in edges})


def code_form(edges: Collection[Edge], weights: Weights = WEIGHTS) -> dict[str, float]:
    """As released: where any successor has matching fields only such stay; weight = that of the kind + matches."""
    matched = [edge for edge in edges if edge.pairs]
    return _normal({edge.after: weights[edge.kind] + len(edge.pairs) for edge in matched or edges})


def walk(
    graph: ToolGraph,
    rng: random.Random,
    *,
    form: Form = code_form,
    weights: Weights = WEIGHTS,
    shortest: int = SHORTEST,
    longest: int = LONGEST,
) -> tuple[str, ...]:
    """Tools in the order of a random walk of uniform length; shorter where it comes to a dead end."""
    if not graph.starts:
        return ()
    length = rng.randint(shortest, longest)
    tools = [rng.choice(graph.starts)]
    while len(tools) < length and (chances := form(graph.after(tools[-1]), weights)):
        tools += rng.choices(list(chances), list(chances.values()))
    return tuple(tools)


# ---------------------------------------------------------------- parts


def _node(tool: SqlTool, columns: Mapping[str, str]) -> Node:
    does = tool.operation
    assert does is not None
    named = {p.name for p in tool.parameters}
    inputs = [
        (given if given in named else parameter.name, columns[f"{does.table}.{given}"])
        for given, parameter in zip(does.given, tool.parameters, strict=False)
    ]
    outputs = [(name, columns[f"{does.table}.{name}"]) for name in does.returns]
    if does.kind == "count":
        outputs = [("", f"number of {does.table}")]
    kind: Literal["query", "mutation", "both"] = "query" if not does.writes else "both" if outputs else "mutation"
    return Node(tool.name, kind, tuple(inputs), tuple(outputs))


def _tells_alone(node: Node, meaning: str, nodes: Sequence[Node]) -> bool:
    tellers = [other for other in nodes if other.does == "query" and meaning in told_by(other)]
    return tellers == [node]


def _normal(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()} if total else {}


def _holds(one: str, other: str) -> bool:
    return one in other or other in one
