"""Database worlds without a model: a random schema, rows that fit, and tools under names that mean nothing elsewhere.

The plain words of questions and descriptions are never the names of tools, tables or columns, and every world draws
these names, the order of arguments and the words of its fields anew, so what carries over is how to read a world.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from evolvent.envs.databases.records import (
    Column,
    Database,
    Operation,
    Parameter,
    SqlTool,
    Statement,
    Table,
    Value,
    quoted,
)
from evolvent.envs.manufacture.lexicon import CONSONANTS, KEYS, NUMBERS, RELATIONS, TEXTS, VALUES, VOWELS
from evolvent.errors import BadInput, MissingExtra
from evolvent.seeds import stream

MANY, ONE = 0, 1
NEEDS = {
    "lookup": ("get many",),
    "two_hop": ("get many", "get one"),
    "count": ("find many",),
    "aggregate": ("find many", "get many"),
    "create_read": ("create many", "get many"),
    "conditional_update": ("get many", "update many"),
    "guarded_delete": ("get many", "delete many"),
    "two_hop_update": ("get many", "update one"),
}
"""For each structure class, the tools that its tasks cannot do without; `many` belongs to `one`."""

STRUCTURES = tuple(NEEDS)
Gives = Literal["row", "rows", "value"]
KINDS = ("get", "find", "count", "create", "update", "delete")


@dataclass(frozen=True, slots=True)
class Size:
    """How large a world is; a table to which others belong has half as many rows."""

    num_tables: int
    num_rows: int
    num_columns: int
    num_spare_tools: int
    largest_number: int
    largest_key: int
    is_realistic: bool = False


SIZES = {
    1: Size(2, 16, 2, 2, 9, 99),
    2: Size(3, 20, 2, 5, 9, 99),
    3: Size(4, 24, 3, 10, 99, 999, is_realistic=True),
    4: Size(6, 40, 4, 18, 999, 9999, is_realistic=True),
}
"""By level: 1 and 2 are what a nano model can read; 4 is as large as published worlds are, with rows from faker."""


def manufacture(seed: int, structure: str, level: int = 1, skin: int = 0) -> Database:
    """The world of a seed whose tasks have a structure (see STRUCTURES), at a level of SIZES.

    A `skin` is what it is called: the same tables, rows and tools under other names, in another order.
    """
    if structure not in NEEDS or level not in SIZES:
        raise BadInput(
            "no such kind of parametric world",
            where="manufacture",
            got=f"{structure}, level {level}",
            wanted=f"one of {', '.join(STRUCTURES)}; levels {', '.join(map(str, SIZES))}",
        )
    rng, dress = stream(seed, "world", structure, level), stream(seed, "skin", structure, level, skin)
    size = SIZES[level]
    names = _Names(dress)
    plain = _entities(size.num_tables, rng)
    tables = _tables(plain, size, rng, names)
    words = dict(_words(plain, tables))
    wanted = [(kind, MANY if which == "many" else ONE) for kind, which in map(str.split, NEEDS[structure])]
    spare = [(kind, i) for kind in KINDS for i in range(len(tables)) if (kind, i) not in wanted]
    chosen = wanted + rng.sample(spare, min(size.num_spare_tools, len(spare)))
    made = _Workshop([t for t, _ in tables], words, rng, names)
    tools = [tool for kind, i in chosen for tool in made.tools(kind, i)]
    dress.shuffle(tools)
    return Database(
        name=f"{structure}-{level}-{seed}-{skin}",
        tables=tuple(table for table, _ in tables),
        tools=tuple(tools),
        labels=(structure, plain[MANY]),
        origin=f"parametric, seed {seed}",
        words=tuple(words.items()),
    )


class _Names:
    """Names that mean nothing, each once."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self._used = rng, set[str]()

    def draw(self) -> str:
        """Two syllables, so that whoever copies the first can find the second behind it."""
        while True:
            name = "".join(self.rng.choice(CONSONANTS) + self.rng.choice(VOWELS) for _ in range(2))
            if name not in self._used:
                self._used.add(name)
                return name


def _entities(num: int, rng: random.Random) -> list[str]:
    """The things of a world: the first belongs to the second, each later one to one before it."""
    pairs = rng.sample(RELATIONS, (num + 1) // 2)
    return [name for pair in pairs for name in pair][:num]


_Tables = list[tuple[Table, tuple[str, ...]]]


def _tables(plain: Sequence[str], size: Size, rng: random.Random, names: _Names) -> _Tables:
    """Every table with the plain words of its columns; referred tables are made before those that refer."""
    made: dict[int, tuple[Table, tuple[str, ...]]] = {}
    dress = names.rng
    letters = dress.sample("abcdefghjkmnpqrstuvwxyz", len(plain))
    for i in reversed(range(len(plain))):
        parent = made[i + 1][0] if i % 2 == 0 and i + 1 in made else None
        texts = rng.sample(list(TEXTS), min(len(TEXTS), (size.num_columns + 1) // 2))
        numbers = rng.sample(list(NUMBERS), size.num_columns // 2)
        columns = [Column(dress.choice(KEYS))]
        columns += [Column(names.draw(), "text", parent.name)] if parent else []
        columns += [Column(dress.choice(TEXTS[t])) for t in texts]
        columns += [Column(dress.choice(NUMBERS[n]), "integer") for n in numbers]
        concepts = ("key", *((plain[i + 1],) if parent else ()), *texts, *numbers)
        rows = tuple(
            _rows(letters[i], columns, concepts, parent, replace(size, num_rows=size.num_rows // (1 + i % 2)), rng)
        )
        made[i] = (Table(names.draw(), tuple(columns), rows), concepts)
    return [made[i] for i in range(len(plain))]


def _rows(
    letter: str,
    columns: Sequence[Column],
    concepts: Sequence[str],
    parent: Table | None,
    size: Size,
    rng: random.Random,
) -> Iterator[tuple[Value, ...]]:
    numbers = rng.sample(range(1, size.largest_key), size.num_rows)  # the largest stays free for a new row
    for number in sorted(numbers):
        row: list[Value] = [f"{letter}{number}"]
        for column, concept in zip(columns[1:], concepts[1:], strict=True):
            if column.references and parent:
                row.append(rng.choice(parent.rows)[0])
            elif column.kind == "integer":
                row.append(rng.randint(1, size.largest_number))
            else:
                row.append(_realistic(concept, rng) if size.is_realistic else rng.choice(VALUES[concept]))
        yield tuple(row)


def _realistic(concept: str, rng: random.Random) -> str:
    """A value as it might be in a real table."""
    if concept not in ("city", "contact", "color"):
        return rng.choice(VALUES[concept])
    fake = _faker()
    fake.seed_instance(rng.getrandbits(32))
    return str({"city": fake.city, "contact": fake.name, "color": fake.color_name}[concept]())


@functools.cache
def _faker() -> Any:
    try:
        from faker import Faker
    except ImportError as error:
        raise MissingExtra(
            "large parametric worlds need faker", where="manufacture", cure='pip install "evolvent[worlds]"'
        ) from error
    return Faker("en_US")


def _words(plain: Sequence[str], tables: _Tables) -> Iterator[tuple[str, str]]:
    for name, (table, concepts) in zip(plain, tables, strict=True):
        yield table.name, name
        for column, concept in zip(table.columns, concepts, strict=True):
            yield f"{table.name}.{column.name}", concept


class _Workshop:
    """Makes the tools of a world."""

    def __init__(self, tables: Sequence[Table], words: dict[str, str], rng: random.Random, names: _Names) -> None:
        self._tables, self._words, self._rng, self._names = tables, words, rng, names

    def tools(self, kind: str, i: int) -> list[SqlTool]:
        """The tool of a kind for a table; none where a table has no use for it."""
        table = self._tables[i]
        made = getattr(self, "_" + kind)(table, quoted(table.name), self._words[table.name])
        return [] if made is None else [made]

    def _tool(
        self,
        words: str,
        statements: Sequence[Statement],
        operation: Operation,
        *,
        columns: Sequence[Column],
        gives: Gives,
    ) -> SqlTool:
        parameters = [Parameter(column.name, column.kind) for column in columns]
        if operation.kind in ("create", "update"):
            self._names.rng.shuffle(parameters)
        return SqlTool(
            self._names.draw(),
            words,
            tuple(parameters),
            tuple(statements),
            gives,
            operation,
        )

    def _get(self, table: Table, name: str, word: str) -> SqlTool:
        key, *rest = table.columns
        wanted = ", ".join(quoted(column.name) for column in rest)
        sql = f"SELECT {wanted} FROM {name} WHERE {quoted(key.name)} = :{key.name}"
        does = Operation("get", table.name, (key.name,), tuple(c.name for c in rest))
        return self._tool(f"get {word}", [Statement(sql, f"no {word}")], does, columns=[key], gives="row")

    def _find(self, table: Table, name: str, word: str) -> SqlTool:
        by, key = self._linked(table), table.columns[0]
        sql = f"SELECT {quoted(key.name)} FROM {name} WHERE {quoted(by.name)} = :{by.name} ORDER BY 1"
        does = Operation("find", table.name, (by.name,), (key.name,))
        words = f"find {word} of {self._words[f'{table.name}.{by.name}']}"
        return self._tool(words, [Statement(sql)], does, columns=[by], gives="rows")

    def _count(self, table: Table, name: str, word: str) -> SqlTool:
        by = self._rng.choice([c for c in table.columns[1:] if c.kind == "text" and not c.references])
        sql = f"SELECT count(*) FROM {name} WHERE {quoted(by.name)} = :{by.name}"
        does = Operation("count", table.name, (by.name,))
        words = f"count {word} by {self._words[f'{table.name}.{by.name}']}"
        return self._tool(words, [Statement(sql)], does, columns=[by], gives="value")

    def _create(self, table: Table, name: str, word: str) -> SqlTool:
        """Takes the link and the words; numbers are what the house charges, one more than the largest so far."""
        key, *rest = table.columns
        given = [c for c in rest if c.references or c.kind == "text"]
        letter = str(table.rows[0][0])[0]
        numbers = [c for c in rest if c not in given]
        values = [f":{c.name}" for c in given] + [f"(SELECT min({quoted(c.name)}) FROM {name})" for c in numbers]
        fresh = f"(SELECT '{letter}' || (1 + max(CAST(substr({quoted(key.name)}, 2) AS INTEGER))) FROM {name})"
        into = ", ".join(quoted(c.name) for c in (key, *given, *numbers))
        sql = f"INSERT INTO {name} ({into}) VALUES ({', '.join([fresh, *values])}) RETURNING {quoted(key.name)}"
        does = Operation("create", table.name, tuple(c.name for c in given), (key.name,), tuple(c.name for c in rest))
        return self._tool(f"add {word}", [Statement(sql)], does, columns=given, gives="row")

    def _update(self, table: Table, name: str, word: str) -> SqlTool:
        key = table.columns[0]
        field = self._rng.choice([c for c in table.columns[1:] if c.kind == "text" and not c.references])
        sql = f"UPDATE {name} SET {quoted(field.name)} = :{field.name} WHERE {quoted(key.name)} = :{key.name}"
        does = Operation("update", table.name, (key.name, field.name), (), (field.name,))
        words = f"set {self._words[f'{table.name}.{field.name}']} of {word}"
        return self._tool(words, [Statement(sql, f"no {word}")], does, columns=[key, field], gives="value")

    def _delete(self, table: Table, name: str, word: str) -> SqlTool:
        key = table.columns[0]
        sql = f"DELETE FROM {name} WHERE {quoted(key.name)} = :{key.name}"
        does = Operation("delete", table.name, (key.name,))
        return self._tool(f"drop {word}", [Statement(sql, f"no {word}")], does, columns=[key], gives="value")

    def _linked(self, table: Table) -> Column:
        """The column that a search goes by: the link where there is one."""
        texts = [c for c in table.columns[1:] if c.kind == "text"]
        return next((c for c in texts if c.references), self._rng.choice(texts))
