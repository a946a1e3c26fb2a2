"""Skills: pieces of code that worked, with the run they come from and what that run gained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, case, insert, or_, select, update

from evolvent.hive.hub.events import record
from evolvent.hive.hub.feed import MAX_ID
from evolvent.hive.hub.item_list import check_item
from evolvent.hive.hub.schema import runs, search_entries, skills, tasks
from evolvent.hive.hub.search import has_words, index
from evolvent.hive.hub.times import now

_SOURCE, _PARENT = runs.alias("source"), runs.alias("parent")
_DELTA = case((and_(_SOURCE.c.is_valid, _PARENT.c.is_valid), _SOURCE.c.value - _PARENT.c.value)).label("delta")


@dataclass(frozen=True, slots=True)
class Skill:
    """What an agent wants others to know how to do; `source` is the full name of a run of this task."""

    name: str
    description: str = ""
    code: str = ""
    source: str | None = None
    item: str | None = None


def add_skill(connection: Connection, task: str, agent: str, skill: Skill) -> dict[str, Any]:
    """Keep a skill, as the wire has it; the caller has the task locked."""
    item = check_item(connection, task, skill.item) if skill.item is not None else None
    row: dict[str, Any] = {"task_id": task, "agent_id": agent, "name": skill.name, "description": skill.description}
    row |= {"code_snippet": skill.code, "source_run_id": skill.source, "item_id": item, "created_at": now()}
    number = connection.execute(insert(skills).values(row).returning(skills.c.id)).scalar_one()
    connection.execute(update(tasks).where(tasks.c.id == task).values(num_skills=tasks.c.num_skills + 1))
    index(connection, "skill", number, task, agent, f"{skill.name} {skill.description} {skill.code}")
    record(connection, "skill", task=task, agent=agent, data={"id": number, "text": skill.name})
    return _tell(connection.execute(_select().where(skills.c.id == number)).mappings().one())


def list_skills(
    connection: Connection, task: str, most: int, offset: int = 0, words: str | None = None
) -> list[dict[str, Any]]:
    """The skills that have these words, those that others liked first; a number also finds the skill that has it."""
    asked = _select().where(skills.c.task_id == task)
    order = [skills.c.upvotes.desc(), skills.c.id.desc()]
    if words is not None:
        found = select(search_entries.c.ref).where(search_entries.c.kind == "skill", search_entries.c.task_id == task)
        fits: ColumnElement[bool] = skills.c.id.in_(found.where(has_words(connection, words)))
        number = _read_number(words)
        if number is not None:
            fits = or_(fits, skills.c.id == number)
            order.insert(0, case((skills.c.id == number, 0), else_=1).asc())
        asked = asked.where(fits)
    rows = connection.execute(asked.order_by(*order).limit(most).offset(offset))
    return [_tell(row) for row in rows.mappings()]


def _read_number(words: str) -> int | None:
    digits = words.strip().removeprefix("#")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 19:
        return None
    return int(digits) if int(digits) <= MAX_ID else None


def _select() -> Select[Any]:
    joined = skills.outerjoin(
        _SOURCE, and_(_SOURCE.c.task_id == skills.c.task_id, _SOURCE.c.sha == skills.c.source_run_id)
    )
    above = and_(_PARENT.c.task_id == _SOURCE.c.task_id, _PARENT.c.sha == _SOURCE.c.parent_sha)
    return select(skills, _DELTA).select_from(joined.outerjoin(_PARENT, above))


def _tell(row: RowMapping) -> dict[str, Any]:
    """A skill as the wire has it; the gain is that of official numbers, whatever the agent said of it."""
    names = ("id", "task_id", "agent_id", "name", "description", "code_snippet", "source_run_id")
    told = {name: row[name] for name in names} | {"score_delta": row["delta"]}
    return told | {name: row[name] for name in ("upvotes", "downvotes", "item_id", "created_at")}
