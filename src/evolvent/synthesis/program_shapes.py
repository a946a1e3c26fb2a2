"""Programs with loops, branches and sums over the tools of any world that says what they do, each with its question."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from evolvent.envs.databases import Database, OpenDatabase
from evolvent.records import Message, said
from evolvent.synthesis.graph_words import plural
from evolvent.synthesis.program_office import Lacking, Office


@dataclass(frozen=True)
class Worked:
    """A question, its answer by field, the digest of the state it leaves, the calls, and how hard it was."""

    question: str
    wanted: Mapping[str, Any]
    state: str
    is_changed: bool
    solution: tuple[Message, ...]
    num_branches: int
    num_tables: int


def work(database: Database, shape: Shape, rng: random.Random) -> Worked | str:
    """A program of a shape about rows drawn from the world, carried out in a private copy; or why it cannot be."""
    office = Office(database, rng)
    try:
        question, wanted = shape(office)
    except Lacking as why:
        return str(why)
    finally:
        before = OpenDatabase(database)
        state, is_changed = office.world.state_digest(), office.world.state_digest() != before.state_digest()
        before.close()
        office.world.close()
    fields = ", ".join(f'"{name}"' for name in wanted)
    answer = json.dumps(wanted, ensure_ascii=False)
    asked = f"{question[0].upper()}{question[1:]}. Answer as JSON with the fields {fields}."
    solution = (*office.messages, said("assistant", answer))
    return Worked(asked, wanted, state, is_changed, solution, office.num_branches, len(office.tables))


Shape = Callable[[Office], tuple[str, dict[str, Any]]]


def total(office: Office) -> tuple[str, dict[str, Any]]:
    """A sum and a count over all rows of a row: a loop."""
    key, number = office.parent(), office.column(office.many, "integer")
    rows = office.children(key)
    word = office.word(office.many, number.name)
    asked = f'tell the sum of the {word} over all {office.things} of {office.owner} "{key}", and how many there are'
    return asked, {f"sum of {word}": sum(row[number.name] for row in rows), f"number of {office.things}": len(rows)}


def set_some(office: Office) -> tuple[str, dict[str, Any]]:
    """Set a column of those rows of a row whose number is above a bound: a branch in a loop."""
    many, key, number = office.many, office.parent(), office.column(office.many, "integer")
    field, bound = office.settable(many), office.value(many, number.name)
    value = office.value(many, field)
    num = 0
    for row in office.children(key):
        if office.branch(row[number.name] > bound):
            office.call("update", many, **{many.key: row[many.key], field: value})
            num += 1
    asked = f"set the {office.word(many, field)} to {json.dumps(value)} for every one of the {office.things} of "
    asked += f'{office.owner} "{key}" with {office.word(many, number.name)} above {bound}, and tell for how many'
    return asked, {f"number of {office.things}": num}


def drop_highest(office: Office) -> tuple[str, dict[str, Any]]:
    """Remove the row with the highest number if that is above a bound, else set its column."""
    many, key, number = office.many, office.parent(), office.column(office.many, "integer")
    field, bound = office.settable(many), office.value(many, number.name)
    value, word = office.value(many, field), office.word(many, number.name)
    rows = office.children(key)
    top = max(rows, key=lambda row: row[number.name])
    if sum(row[number.name] == top[number.name] for row in rows) > 1:
        raise Lacking("no single highest number")
    if office.branch(top[number.name] > bound):
        office.call("delete", many, **{many.key: top[many.key]})
    else:
        office.call("update", many, **{many.key: top[many.key], field: value})
    asked = f'take the one of the {office.things} of {office.owner} "{key}" with the highest {word}. If its {word} is '
    asked += f"above {bound} remove it, otherwise set its {office.word(many, field)} to {json.dumps(value)}. "
    return asked + "Tell the key of it", {office.word(many): top[many.key]}


def reward_larger(office: Office) -> tuple[str, dict[str, Any]]:
    """Compare two rows by a sum over what belongs to them, and set a column of the larger: loops over two tables."""
    many, one, number = office.many, office.one, office.column(office.many, "integer")
    first, second = office.parent(), office.parent()
    if first == second:
        raise Lacking("no two rows that several rows belong to")
    field = office.settable(one)
    value, word = office.value(one, field), office.word(many, number.name)
    sums = [sum(row[number.name] for row in office.children(key)) for key in (first, second)]
    chosen = first if office.branch(sums[0] >= sums[1]) else second
    before = office.get(one, chosen)[field]
    if office.branch(before != value):
        office.call("update", one, **{one.key: chosen, field: value})
    owner, column = office.owner, office.word(one, field)
    asked = f'of {owner} "{first}" and {owner} "{second}" take the one whose {office.things} have the larger sum of '
    asked += f'{word}, "{first}" if both are equal. Tell its {column} as it is now, and set it to {json.dumps(value)} '
    return asked + "unless it is that already", {owner: chosen, f"{owner} {column}": before}


def tell_owners(office: Office) -> tuple[str, dict[str, Any]]:
    """A sum over rows above a bound, and a column of the row that they belong to: a branch in a loop, two tables."""
    many, one, key = office.many, office.one, office.parent()
    number, column = office.column(many, "integer"), office.rng.choice([c for c in one.columns[1:] if not c.references])
    bound, word = office.value(many, number.name), office.word(many, number.name)
    kept = [row[number.name] for row in office.children(key) if office.branch(row[number.name] <= bound)]
    found = office.get(one, key)[column.name]
    told = office.word(one, column.name)
    asked = (
        f'tell the sum of the {word} over those of the {office.things} of {office.owner} "{key}" whose {word} is at '
    )
    asked += f"most {bound}, and the {told} of that {office.owner}"
    return asked, {f"sum of {word}": sum(kept), f"{office.owner} {told}": found}


def sum_named(office: Office) -> tuple[str, dict[str, Any]]:
    """A sum over named rows that are above a bound: a branch in a loop."""
    table = office.readable()
    number, word = office.column(table, "integer"), office.word(table)
    keys = [row[0] for row in office.rng.sample(table.rows, 3)]
    bound = office.value(table, number.name)
    rows = [office.get(table, key) for key in keys]
    kept = [row[number.name] for row in rows if office.branch(row[number.name] >= bound)]
    told = office.word(table, number.name)
    named = ", ".join(json.dumps(key) for key in keys)
    asked = (
        f"of the {plural(word)} {named} count those with {told} of at least {bound}, and tell the sum of their {told}"
    )
    return asked, {f"number of {plural(word)}": len(kept), f"sum of {told}": sum(kept)}


def most_frequent(office: Office) -> tuple[str, dict[str, Any]]:
    """Which of some values stands in most rows: a maximum over a loop."""
    table, column = office.countable()
    at = [c.name for c in table.columns].index(column)
    values = sorted({row[at] for row in table.rows}, key=str)
    if len(values) < 2:
        raise Lacking("no values to compare")
    drawn = office.rng.sample(values, min(3, len(values)))
    counts = {value: office.call("count", table, **{column: value}) for value in drawn}
    top = max(counts.values())
    if list(counts.values()).count(top) > 1:
        raise Lacking("no single most frequent value")
    word, told = office.word(table), office.word(table, column)
    named = ", ".join(json.dumps(value) for value in drawn)
    asked = f"which {told} of {named} do most {plural(word)} have, and how many more is that than the fewest"
    best = next(value for value in drawn if counts[value] == top)
    return f"tell {asked}", {told: best, "difference": top - min(counts.values())}


SHAPES: tuple[Shape, ...] = (sum_named, most_frequent, total, set_some, drop_highest, reward_larger, tell_owners)
