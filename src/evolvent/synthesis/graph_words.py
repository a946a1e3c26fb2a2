"""Turns a chain of calls into a question in plain words and the fields of its answer, where tools say what they do."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evolvent.envs.databases import Column, Database, Operation, SqlTool, Table
from evolvent.synthesis.steps import Chain, Source

MAX_FIELDS = 5  # of an answer, Agent-World's released generator


@dataclass(frozen=True)
class Draft:
    """A question with the fields of its answer and their values."""

    question: str
    wanted: Mapping[str, Any]


def draft(database: Database, chain: Chain, rng: random.Random, *, hides_workflow: bool = True) -> Draft | str:
    """A question that needs every step, and its answer, from what was seen alone; or why there can be none."""
    try:
        return _Writer(database, chain, rng).write(hides_workflow)
    except _Unsayable as why:
        return str(why)


def names_in(question: str, database: Database) -> tuple[str, ...]:
    """The names of tools and tables that a question tells."""
    names = [*(tool.name for tool in database.tools), *(table.name for table in database.tables)]
    words = set(re.findall(r"[a-z0-9_]+", question.lower()))
    return tuple(name for name in names if name.lower() in words)


class _Unsayable(Exception):  # a way out of a sentence, never seen outside
    """There is no such question about this chain."""


class _Writer:
    """Says what the steps of a chain do; things that were found are named by how they were found."""

    def __init__(self, database: Database, chain: Chain, rng: random.Random) -> None:
        self._database, self._steps, self._rng = database, chain.steps, rng
        self._does = [_operation(database, step.tool) for step in chain.steps]
        self._used = {source.step for step in chain.steps for source in step.sources.values()}
        self._wanted: dict[str, Any] = {}

    def write(self, hides_workflow: bool) -> Draft:
        sentences = []
        for at, does in enumerate(self._does):
            said = self._order(at) if does.writes else self._look(at, hides_workflow)
            sentences += [said] if said else []
        numbers = [v for v in self._wanted.values() if isinstance(v, int | float)]
        if len(numbers) > 1 and len(self._wanted) < MAX_FIELDS:
            sentences.append("tell the sum of the numbers told, " + self._field("total", sum(numbers)))
        if not self._wanted:
            raise _Unsayable("nothing to tell")
        if len(self._wanted) > MAX_FIELDS:
            raise _Unsayable("too many fields")
        fields = ", ".join(f'"{name}"' for name in self._wanted)
        asked = ". Then ".join(sentences)
        return Draft(f"{asked[0].upper()}{asked[1:]}. Answer as JSON with the fields {fields}.", self._wanted)

    # ------------------------------------------------------------ sentences

    def _order(self, at: int) -> str:
        """What is to be changed."""
        does, step = self._does[at], self._steps[at]
        table = self._database.table(does.table)
        if does.kind == "delete":
            return f"remove {self._thing(at, at)}"
        if does.kind == "update":
            sets = [f"{self._word(table, c)} to {self._value(at, c, at)}" for c in does.sets if c in step.arguments]
            if len(sets) < len(does.sets):
                raise _Unsayable("a change that no argument tells")
            return f"set the {' and the '.join(sets)} for {self._thing(at, at)}"
        told = ""
        if at not in self._used and isinstance(step.observation, Mapping) and table.key in step.observation:
            told = ", and tell the key it is given, " + self._field(
                f"new {self._database.word(table.name)}", step.observation[table.key]
            )
        return f"add a new {self._database.word(table.name)} with {self._given(at, at) or 'nothing else'}{told}"

    def _look(self, at: int, hides_workflow: bool) -> str:
        """What is to be told; where it serves a later step alone, nothing or just where to look."""
        does, step = self._does[at], self._steps[at]
        if at in self._used:
            return "" if hides_workflow else f"look at {self._thing(at, at)}"
        things = plural(self._database.word(does.table))
        if does.kind in ("count", "find"):
            num = len(step.observation) if isinstance(step.observation, list) else step.observation
            if not isinstance(num, int):
                raise _Unsayable("nothing the same each time to tell")
            return f"tell the number of {self._thing(at, at)}, " + self._field(f"number of {things}", num)
        name = self._rng.choice(self._tellable(at))
        table = self._database.table(does.table)
        word = self._word(table, name)
        field = self._field(f"{self._database.word(table.name)} {word}", step.observation[name])
        return f"tell the {word} of {self._thing(at, at)}, {field}"

    def _tellable(self, at: int) -> list[str]:
        seen, table = self._steps[at].observation, self._database.table(self._does[at].table)
        if not isinstance(seen, Mapping):
            raise _Unsayable("nothing the same each time to tell")
        columns = [c for c in table.columns if c.name in seen and c.name not in self._does[at].given]
        found = [c.name for c in columns if not c.references] or [c.name for c in columns]
        if not found:
            raise _Unsayable("nothing the same each time to tell")
        return found

    def _field(self, name: str, value: Any) -> str:
        num = 2
        unique = name
        while unique in self._wanted:
            unique, num = f"{name} {num}", num + 1
        self._wanted[unique] = value
        return f'as "{unique}"'

    # ------------------------------------------------------------ things

    def _thing(self, step: int, at: int) -> str:
        """What a step is about, as it is called at a later one."""
        does = self._does[step]
        table = self._database.table(does.table)
        word = self._database.word(table.name)
        if does.kind == "create":
            return f"the {self._ordinal(step)}new {word}"
        if does.kind in ("find", "count"):
            return f"{plural(word)} with {self._given(step, at)}"
        if table.key in does.given:
            return self._named(step, table.key, at)
        return f"the {word} with {self._given(step, at)}"

    def _given(self, step: int, at: int) -> str:
        table = self._database.table(self._does[step].table)
        being = {c: "being " if self._source(step, c).step >= 0 else "" for c in self._does[step].given}
        return " and ".join(f"{self._word(table, c)} {b}{self._value(step, c, at)}" for c, b in being.items())

    def _named(self, step: int, column: str, at: int) -> str:
        """The thing whose key an argument is."""
        table = self._target(step, column)
        source = self._source(step, column)
        if source.step < 0:
            return f"{self._database.word(table.name)} {_said(self._argument(step, column))}"
        return self._found(source, at)

    def _value(self, step: int, column: str, at: int) -> str:
        source = self._source(step, column)
        return _said(self._argument(step, column)) if source.step < 0 else self._found(source, at)

    def _found(self, source: Source, at: int) -> str:
        """What stands at a place of an earlier observation, said as it can still be found."""
        self._check_fresh(source.step, at)
        does = self._does[source.step]
        table = self._database.table(does.table)
        thing = self._thing(source.step, at)
        if does.kind == "create":
            return thing
        if does.kind == "find" and len(source.path) == 2 and source.path[1] == table.key:
            place = int(source.path[0]) + 1
            return f"{self._database.word(table.name)} number {place} in the list of {thing}"
        if does.kind == "count":
            return f"the number of {thing}"
        if does.kind == "get" and len(source.path) == 1:
            name = str(source.path[0])
            return thing if name == table.key else f"the {self._word(table, name)} of {thing}"
        raise _Unsayable("a value that has no words")

    def _check_fresh(self, step: int, at: int) -> None:
        """What a question calls by how it was found must not have been changed in between."""
        table = self._does[step].table
        if any(self._does[k].writes and self._does[k].table == table for k in range(step + 1, at)):
            raise _Unsayable("changed after it was read")

    def _ordinal(self, step: int) -> str:
        same = [k for k, d in enumerate(self._does) if d.kind == "create" and d.table == self._does[step].table]
        return "" if len(same) == 1 else ["first ", "second ", "third ", "fourth ", "fifth "][same.index(step)]

    # ------------------------------------------------------------ parts

    def _argument(self, step: int, column: str) -> Any:
        return self._steps[step].arguments[self._parameter(step, column)]

    def _source(self, step: int, column: str) -> Source:
        return self._steps[step].sources.get(self._parameter(step, column), Source())

    def _parameter(self, step: int, column: str) -> str:
        """The parameter of a step's tool that takes a column: the one called like it, else the one in its place."""
        arguments = self._steps[step].arguments
        if column in arguments:
            return column
        place = self._does[step].given.index(column)
        parameters = self._database.tool(self._steps[step].tool).parameters
        if place >= len(parameters) or parameters[place].name not in arguments:
            raise _Unsayable("an argument that has no column")
        return parameters[place].name

    def _target(self, step: int, column: str) -> Table:
        table = self._database.table(self._does[step].table)
        refers = _column(table, column).references
        return self._database.table(refers) if refers else table

    def _word(self, table: Table, column: str) -> str:
        refers = _column(table, column).references
        return self._database.word(refers) if refers else self._database.word(table.name, column)


def _operation(database: Database, name: str) -> Operation:
    tool = database.tool(name)
    if not isinstance(tool, SqlTool) or tool.operation is None:
        raise _Unsayable("a tool that does not say what it does")
    return tool.operation


def _column(table: Table, name: str) -> Column:
    return next(column for column in table.columns if column.name == name)


def _said(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def plural(word: str) -> str:
    """More than one of what a word says."""
    if re.search(r"(?:s|x|ch|sh)$", word):
        return word + "es"
    return word[:-1] + "ies" if re.search(r"[^aeiou]y$", word) else word + "s"
