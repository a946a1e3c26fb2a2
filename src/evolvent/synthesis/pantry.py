"""Finds real arguments for calls: in what was seen, in one record, among pooled values, or in an enumeration."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from evolvent.envs.databases import Database, Value
from evolvent.records import Tool
from evolvent.synthesis.steps import Path, Source, Step, leaves
from evolvent.synthesis.tool_graph import ID_WORDS, ToolGraph, words_in

NUM_RECORDS = 60  # of which the best is taken; these are of Agent-World's released generator
NUM_POOLED = 12  # values of a field
OPTIONAL_FRAC = 0.4
KINDS: Mapping[Any, type | tuple[type, ...]] = {"string": str, "integer": int, "number": (int, float)}


class Pantry:
    """Where arguments come from: observations, one record, pooled values, an enumeration, in this order."""

    def __init__(self, database: Database, graph: ToolGraph, rng: random.Random) -> None:
        self._graph, self._rng = graph, rng
        means = dict(graph.columns)
        self._records = [
            {means[f"{table.name}.{column.name}"]: value for column, value in zip(table.columns, row, strict=True)}
            for table in database.tables
            for row in table.rows
        ]
        values: dict[str, dict[Value, None]] = {}
        for record in self._records:
            for meaning, value in record.items():
                values.setdefault(meaning, {})[value] = None
        self._pool = {m: rng.sample(list(found), min(NUM_POOLED, len(found))) for m, found in values.items()}

    def only_writes(self, tool: str) -> bool:
        """Whether a tool is there to change something."""
        return self._graph.node(tool).does == "mutation"

    def arguments(
        self, tool: Tool, steps: Sequence[Step], *, has_options: bool
    ) -> dict[str, tuple[Value, Source]] | None:
        """Values with their sources; None where a required one has none, for nothing is invented."""
        properties, required = tool.parameters.get("properties", {}), tool.parameters.get("required", ())
        means = dict(self._graph.node(tool.name).inputs)
        wanted = [n for n in properties if n in required or (has_options and self._rng.random() < OPTIONAL_FRAC)]
        found = {n: self._seen(means.get(n, n), properties[n], steps) for n in wanted}
        missing = [means.get(n, n) for n in required if found[n] is None]
        record = self._best_record(missing) if missing else {}
        given: dict[str, tuple[Value, Source]] = {}
        for name in wanted:
            value = found[name] or self._stored(means.get(name, name), properties[name], record)
            if value is not None:
                given[name] = value
            elif name in required:
                return None
        return given

    def _seen(self, meaning: str, schema: Mapping[str, Any], steps: Sequence[Step]) -> tuple[Value, Source] | None:
        """From the newest observation that holds it: a field of that meaning, else one of which the end is alike."""
        for place in reversed(range(len(steps))):
            outputs = dict(self._graph.node(steps[place].tool).outputs)
            held = [(_meaning(path, outputs), path, value) for path, value in leaves(steps[place].observation)]
            fitting = [(told, path, value) for told, path, value in held if _fits(schema, value)]
            same = [one for one in fitting if is_same(one[0], meaning)]
            chosen = same or [one for one in fitting if is_similar(one[0], meaning)]
            if chosen:
                _, path, value = self._rng.choice(chosen)
                return value, Source(place, path)
        return None

    def _stored(
        self, meaning: str, schema: Mapping[str, Any], record: Mapping[str, Value]
    ) -> tuple[Value, Source] | None:
        """From the record, from the pool of all records, or from the choices that the schema names."""
        for name, value in record.items():
            if _is_like(name, meaning) and _fits(schema, value):
                return value, Source(how="record")
        pooled = [v for name, values in self._pool.items() if _is_like(name, meaning) for v in values]
        pooled = [value for value in pooled if _fits(schema, value)]
        if pooled:
            return self._rng.choice(pooled), Source(how="pool")
        return (self._rng.choice(schema["enum"]), Source(how="enum")) if schema.get("enum") else None

    def _best_record(self, missing: Sequence[str]) -> Mapping[str, Value]:
        drawn = self._rng.sample(self._records, min(NUM_RECORDS, len(self._records)))
        return max(drawn, key=lambda r: sum(any(_is_like(n, m) for n in r) for m in missing), default={})


def is_same(name: str, wanted: str) -> bool:
    """Whether two names are made of the same words."""
    return words_in(name) == words_in(wanted)


def is_similar(name: str, wanted: str) -> bool:
    """Whether the words of one name end those of the other: `id` and `book_id`."""
    one, other = words_in(name), words_in(wanted)
    num = min(len(one), len(other))
    return num > 0 and one[-num:] == other[-num:]


def _is_like(name: str, wanted: str) -> bool:
    """Also where both name the key of one thing: `authors_id` and `author_key`."""
    one, other = words_in(name), words_in(wanted)
    if is_similar(name, wanted) or not one or not other:
        return is_similar(name, wanted)
    are_ids = one[-1] in ID_WORDS and other[-1] in ID_WORDS
    return are_ids and "".join(one[:-1]).removesuffix("s") == "".join(other[:-1]).removesuffix("s")


def _meaning(path: Path, outputs: Mapping[str, str]) -> str:
    name = next((str(part) for part in reversed(path) if isinstance(part, str)), "")
    return outputs.get(name, name)


def _fits(schema: Mapping[str, Any], value: Any) -> bool:
    """Whether a value is of the type, and among the choices, of a parameter."""
    if "enum" in schema and value not in schema["enum"]:
        return False
    wanted = schema.get("type")
    if value is None or isinstance(value, bool):
        return wanted == "boolean" and isinstance(value, bool)
    return wanted not in KINDS or isinstance(value, KINDS[wanted])
