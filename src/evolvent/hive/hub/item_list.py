"""Lists and tells the work items of a task."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, case, func, or_, select

from evolvent.hive.hub.refusals import missing
from evolvent.hive.hub.schema import item_comments, items
from evolvent.hive.hub.times import later

ASSIGNED_S = 2 * 60 * 60
PRIORITIES = ("none", "low", "medium", "high", "urgent")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which items to list; None leaves a side open, `status` may begin with "!", an assignee "none" is nobody."""

    status: str | None = None
    priority: str | None = None
    assignee: str | None = None
    label: str | None = None
    parent: str | None = None
    sort: str = "recent"


def list_items(
    connection: Connection, task: str, chosen: Filter, *, most: int = 25, offset: int = 0
) -> list[dict[str, Any]]:
    """The items of a task that fit."""
    asked = select(items, _num_comments()).where(items.c.task_id == task, items.c.deleted_at.is_(None))
    rows = connection.execute(
        asked.where(*_conditions(chosen)).order_by(*_order(chosen.sort)).limit(most).offset(offset)
    )
    return [_tell(row) for row in rows.mappings()]


def read_item(connection: Connection, task: str, item_id: str) -> dict[str, Any]:
    """One item with its parts; 404 where there is none."""
    row = take_item(connection, task, item_id)
    parts = select(items.c.id, items.c.title, items.c.status).where(items.c.parent_id == row["id"])
    parts = parts.where(items.c.deleted_at.is_(None)).order_by(items.c.seq)
    return _tell(row) | {"children": [dict(part) for part in connection.execute(parts).mappings()]}


def check_item(connection: Connection, task: str, item_id: str) -> str:
    """The full name of an item of this task; 404 where there is none."""
    return str(take_item(connection, task, item_id)["id"])


def take_item(connection: Connection, task: str, item_id: str) -> RowMapping:
    """The row of an item that is still there; 404 where there is none."""
    asked = select(items, _num_comments()).where(items.c.id == item_id.upper(), items.c.task_id == task)
    row = connection.execute(asked.where(items.c.deleted_at.is_(None))).mappings().first()
    if row is None:
        raise missing("item", item_id)
    return row


def _num_comments() -> ColumnElement[int]:
    there = (item_comments.c.item_id == items.c.id, item_comments.c.deleted_at.is_(None))
    asked = select(func.count()).select_from(item_comments).where(*there).correlate(items)
    return asked.scalar_subquery().label("num_comments")


def _conditions(chosen: Filter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    has_one = and_(items.c.assignee_id.is_not(None), items.c.assigned_at > later(-ASSIGNED_S))
    if chosen.status is not None and chosen.status.startswith("!"):
        found.append(items.c.status != chosen.status[1:])
    elif chosen.status is not None:
        found.append(items.c.status == chosen.status)
    if chosen.priority is not None:
        found.append(items.c.priority == chosen.priority)
    if chosen.assignee == "none":
        found.append(or_(items.c.assignee_id.is_(None), items.c.assigned_at <= later(-ASSIGNED_S)))
    elif chosen.assignee is not None:
        found.append(and_(has_one, items.c.assignee_id == chosen.assignee))
    if chosen.label is not None:  # LIKE sees no capitals in SQLite, taking a label out does in both
        found.append(func.replace(items.c.labels, json.dumps(chosen.label), "") != items.c.labels)
    if chosen.parent is not None:
        found.append(items.c.parent_id == chosen.parent.upper())
    return found


def _order(sort: str) -> list[ColumnElement[Any]]:
    name, _, way = sort.partition(":")
    ranks = {one: -i for i, one in enumerate(PRIORITIES)}
    columns = {
        "recent": items.c.created_at,
        "updated": items.c.updated_at,
        "priority": case(ranks, value=items.c.priority, else_=1),
    }
    is_rising = (way or ("asc" if name == "priority" else "desc")) == "asc"
    return [columns[name].asc(), items.c.seq.asc()] if is_rising else [columns[name].desc(), items.c.seq.desc()]


def assignee_of(row: RowMapping) -> str | None:
    """Who has an item now; nobody has one for longer than two hours."""
    return row["assignee_id"] if row["assigned_at"] and row["assigned_at"] > later(-ASSIGNED_S) else None


def end_of(row: RowMapping) -> str | None:
    """When an item that somebody has is free again."""
    if assignee_of(row) is None:
        return None
    end = datetime.fromisoformat(row["assigned_at"]) + timedelta(seconds=ASSIGNED_S)
    return end.isoformat(timespec="microseconds")


def _tell(row: RowMapping) -> dict[str, Any]:
    names = ("id", "task_id", "title", "description", "status", "priority")
    told: dict[str, Any] = {name: row[name] for name in names}
    told |= {"assignee_id": assignee_of(row), "assigned_at": row["assigned_at"] if assignee_of(row) else None}
    told |= {"parent_id": row["parent_id"], "labels": json.loads(row["labels"])}
    told["metadata"] = json.loads(row["metadata"]) if row["metadata"] else None
    told |= {name: row[name] for name in ("created_by", "created_at", "updated_at")}
    return told | {"comment_count": row["num_comments"], "assignment_expires_at": end_of(row)}
