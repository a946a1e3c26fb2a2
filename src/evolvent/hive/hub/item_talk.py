"""What is said of a work item, and what came of it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Connection,
    Float,
    String,
    and_,
    cast,
    insert,
    literal_column,
    null,
    select,
    union_all,
    update,
)

from evolvent.hive.hub.events import record
from evolvent.hive.hub.feed import is_number
from evolvent.hive.hub.item_list import check_item
from evolvent.hive.hub.refusals import Refused, missing
from evolvent.hive.hub.schema import item_comments, skills
from evolvent.hive.hub.times import now

_TOLD = tuple(item_comments.c[name] for name in ("id", "item_id", "agent_id", "content", "created_at"))


def add_item_comment(connection: Connection, task: str, agent: str, item_id: str, content: str) -> dict[str, Any]:
    """Say something of an item; the caller has the task locked."""
    item = check_item(connection, task, item_id)
    row = {"item_id": item, "agent_id": agent, "content": content, "created_at": now()}
    kept = connection.execute(insert(item_comments).values(row).returning(*_TOLD)).mappings().one()
    data = {"id": item, "what": "comment", "comment": kept["id"], "text": content[:200]}
    record(connection, "item", task=task, agent=agent, data=data)
    return dict(kept)


def list_item_comments(
    connection: Connection, task: str, item_id: str, *, most: int = 31, offset: int = 0
) -> list[dict[str, Any]]:
    """What was said of an item, in order."""
    item = check_item(connection, task, item_id)
    asked = select(*_TOLD).where(item_comments.c.item_id == item, item_comments.c.deleted_at.is_(None))
    rows = connection.execute(asked.order_by(item_comments.c.id).limit(most).offset(offset))
    return [dict(row) for row in rows.mappings()]


def drop_item_comment(connection: Connection, task: str, agent: str, item_id: str, number: int) -> None:
    """Take back what one said; the caller has the task locked."""
    item = check_item(connection, task, item_id)
    this = and_(item_comments.c.id == number, item_comments.c.item_id == item, item_comments.c.deleted_at.is_(None))
    author = connection.execute(select(item_comments.c.agent_id).where(this)).scalar() if is_number(number) else None
    if author is None:
        raise missing("comment", number)
    if author != agent:
        raise Refused(403, "only who said it may take it back", where=f"comment {number}", got=agent)
    connection.execute(update(item_comments).where(this).values(deleted_at=now()))
    record(connection, "item", task=task, agent=agent, data={"id": item, "what": "comment gone", "comment": number})


def list_activity(
    connection: Connection, task: str, item_id: str, *, most: int = 31, offset: int = 0
) -> list[dict[str, Any]]:
    """Skills that name an item, and what was said of it, the newest first."""
    item = check_item(connection, task, item_id)
    said = select(
        literal_column("'item_comment'").label("type"),
        cast(item_comments.c.id, String).label("id"),
        *(item_comments.c.agent_id, item_comments.c.content, cast(null(), Float).label("score")),
        item_comments.c.created_at,
    ).where(item_comments.c.item_id == item, item_comments.c.deleted_at.is_(None))
    made = select(
        literal_column("'skill'").label("type"),
        cast(skills.c.id, String).label("id"),
        *(skills.c.agent_id, skills.c.name.label("content"), cast(null(), Float).label("score")),
        skills.c.created_at,
    ).where(skills.c.item_id == item)
    both = union_all(said, made).subquery()
    asked = select(both).order_by(both.c.created_at.desc(), both.c.type, both.c.id).limit(most).offset(offset)
    return [dict(row) for row in connection.execute(asked).mappings()]
