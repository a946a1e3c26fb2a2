"""Work items of a task, as on a board of cards: with a status, somebody who does it for a while, and parts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Integer, and_, func, insert, literal_column, select, update

from evolvent.errors import BadInput
from evolvent.hive.hub.events import record
from evolvent.hive.hub.item_list import assignee_of, check_item, end_of, read_item, take_item
from evolvent.hive.hub.refusals import Refused, missing
from evolvent.hive.hub.schema import agents, item_comments, items, tasks
from evolvent.hive.hub.times import now

MAX_DEPTH = 5
MAX_METADATA = 16 * 1024
MAX_NESTING = 20


def add_item(connection: Connection, task: str, agent: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """A new item; the caller has the task locked."""
    row = _read(connection, task, said)
    if row.get("parent_id") and _count_above(connection, row["parent_id"]) >= MAX_DEPTH:
        raise _too_deep(row["parent_id"])
    counted = update(tasks).where(tasks.c.id == task).values(item_seq=tasks.c.item_seq + 1)
    seq, at = connection.execute(counted.returning(tasks.c.item_seq)).scalar_one(), now()
    row |= {"id": f"{task.upper()}-{seq}", "seq": seq, "task_id": task, "created_by": agent}
    row = {"status": "backlog", "priority": "none", "labels": "[]"} | row | {"created_at": at, "updated_at": at}
    if row["status"] == "archived":
        row["assignee_id"] = None
    row["assigned_at"] = at if row.get("assignee_id") else None
    connection.execute(insert(items).values(row))
    record(connection, "item", task=task, agent=agent, data={"id": row["id"], "what": "new", "text": row["title"]})
    return read_item(connection, task, row["id"])


def change_item(connection: Connection, task: str, agent: str, item_id: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """An item after a change of some of its fields; the caller has the task locked."""
    old = take_item(connection, task, item_id)
    row = _read(connection, task, said)
    if not row:
        raise BadInput("nothing to change", where=old["id"], wanted="title, description, status, priority, ...")
    if row.get("parent_id"):
        _check_place(connection, old["id"], row["parent_id"])
    if row.get("status", old["status"]) == "archived":
        row["assignee_id"] = None
    if "assignee_id" in row and (row["assignee_id"] is None or row["assignee_id"] != assignee_of(old)):
        row["assigned_at"] = now() if row["assignee_id"] else None
    connection.execute(update(items).where(items.c.id == old["id"]).values(**row, updated_at=now()))
    record(
        connection, "item", task=task, agent=agent, data={"id": old["id"], "what": "changed", "fields": sorted(said)}
    )
    return read_item(connection, task, old["id"])


def assign_item(connection: Connection, task: str, agent: str, item_id: str) -> dict[str, Any]:
    """Take an item for two hours; Refused while another agent has it. The caller has the task locked."""
    old = take_item(connection, task, item_id)
    if old["status"] == "archived":
        raise Refused(409, "an archived item is nobody's to take", where=old["id"])
    if assignee_of(old) not in (None, agent):
        cure = f"it is free at {end_of(old)} unless they take it again"
        raise Refused(409, "another agent has this item", where=old["id"], got=old["assignee_id"], cure=cure)
    status = "in_progress" if old["status"] == "backlog" else old["status"]
    row = {"assignee_id": agent, "assigned_at": now(), "status": status, "updated_at": now()}
    connection.execute(update(items).where(items.c.id == old["id"]).values(row))
    record(connection, "item", task=task, agent=agent, data={"id": old["id"], "what": "taken"})
    return read_item(connection, task, old["id"])


def drop_item(connection: Connection, task: str, agent: str, item_id: str) -> None:
    """Take away an item of one's own that has no parts; the caller has the task locked."""
    old = take_item(connection, task, item_id)
    if old["created_by"] != agent:
        raise Refused(403, "only who made an item may take it away", where=old["id"], got=agent)
    parts = select(items.c.id).where(items.c.parent_id == old["id"], items.c.deleted_at.is_(None))
    if connection.execute(parts.limit(1)).first() is not None:
        raise Refused(409, "an item with parts stays", where=old["id"], cure="take its parts away first")
    at = now()
    connection.execute(update(items).where(items.c.id == old["id"]).values(deleted_at=at))
    below = and_(item_comments.c.item_id == old["id"], item_comments.c.deleted_at.is_(None))
    connection.execute(update(item_comments).where(below).values(deleted_at=at))
    record(connection, "item", task=task, agent=agent, data={"id": old["id"], "what": "gone"})


def _read(connection: Connection, task: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """What was said of an item, as its row keeps it, with everything that it names there."""
    row = dict(said)
    if "labels" in row:
        row["labels"] = json.dumps(row["labels"])
    if row.get("metadata") is not None:
        row["metadata"] = _write_metadata(row["metadata"])
    if row.get("assignee_id") is not None:
        known = select(agents.c.id).where(agents.c.id == row["assignee_id"], agents.c.revoked_at.is_(None))
        if connection.execute(known).first() is None:
            raise missing("assignee", row["assignee_id"])
    if row.get("parent_id") is not None:
        row["parent_id"] = check_item(connection, task, row["parent_id"])
    return row


def _write_metadata(metadata: Mapping[str, Any]) -> str:
    level: list[Any] = [metadata]
    for _ in range(MAX_NESTING):
        level = [inner for one in level if isinstance(one, dict | list) for inner in _parts(one)]
    try:
        written = json.dumps(metadata, allow_nan=False) if not level else ""
    except ValueError:
        raise BadInput("metadata has a number that is none", where="metadata", wanted="JSON") from None
    if not written or len(written) > MAX_METADATA:
        got = "more" if written else "deeper"
        wanted = f"at most {MAX_METADATA} bytes as JSON, {MAX_NESTING} levels deep"
        raise BadInput("metadata is too large", where="metadata", got=got, wanted=wanted)
    return written


def _parts(one: dict[str, Any] | list[Any]) -> list[Any]:
    return list(one.values()) if isinstance(one, dict) else one


def _check_place(connection: Connection, item_id: str, parent: str) -> None:
    """An item cannot lie below itself, nor deeper than MAX_DEPTH with all its parts."""
    below = select(items.c.id, literal_column("1", Integer).label("depth")).where(items.c.id == item_id)
    tree = below.cte("below", recursive=True)
    deeper = select(items.c.id, tree.c.depth + 1).join(tree, items.c.parent_id == tree.c.id)
    tree = tree.union_all(deeper.where(items.c.deleted_at.is_(None)))
    depths = {row.id: row.depth for row in connection.execute(select(tree.c.id, tree.c.depth))}
    if parent in depths:
        raise BadInput("an item cannot lie below itself", where=item_id, got=f"parent {parent}")
    if _count_above(connection, parent) + max(depths.values()) > MAX_DEPTH:
        raise _too_deep(parent)


def _count_above(connection: Connection, item_id: str) -> int:
    """How many items lie on the way from the top to this one, itself among them."""
    start = select(items.c.id, items.c.parent_id).where(items.c.id == item_id)
    tree = start.cte("above", recursive=True)
    tree = tree.union_all(select(items.c.id, items.c.parent_id).join(tree, items.c.id == tree.c.parent_id))
    return connection.execute(select(func.count()).select_from(tree)).scalar_one()


def _too_deep(parent: str) -> BadInput:
    return BadInput("items lie too deep", where="parent_id", got=parent, wanted=f"at most {MAX_DEPTH} levels")
