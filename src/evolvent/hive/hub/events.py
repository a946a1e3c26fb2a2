"""Writes down everything that happens, in order: the stream of activity that people follow, and the audit trail."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update

from evolvent.hive.hub.schema import events, tasks
from evolvent.hive.hub.times import now

PRIVATE = frozenset({"token", "refused", "user", "invite", "worker"})  # kinds that only admins read


def record(
    connection: Connection,
    kind: str,
    *,
    task: str | None = None,
    agent: str | None = None,
    user: int | None = None,
    data: Mapping[str, Any] | None = None,
) -> int:
    """Append an event; whatever was rendered of its task is out of date from then on. The number of the event.

    The row of the task is locked first, so that events of one task are numbered in the order in which they are kept.
    """
    at = now()
    if task is not None:
        touched = update(tasks).where(tasks.c.id == task)
        connection.execute(touched.values(version=tasks.c.version + 1, last_activity=at))
    row = {"at": at, "kind": kind, "task_id": task, "agent_id": agent, "user_id": user}
    said = json.dumps(dict(data or {}), ensure_ascii=False, allow_nan=False)
    done = connection.execute(insert(events).values(**row, data=said).returning(events.c.id))
    return int(done.scalar_one())


def read_events(
    connection: Connection, after: int = 0, *, task: str | None = None, most: int = 200, with_private: bool = False
) -> list[dict[str, Any]]:
    """The events after this number, in order."""
    asked = select(events).where(events.c.id > after).order_by(events.c.id).limit(most)
    if task is not None:
        asked = asked.where(events.c.task_id == task)
    if not with_private:
        asked = asked.where(events.c.kind.not_in(PRIVATE))
    return [_tell(dict(row)) for row in connection.execute(asked).mappings()]


def _tell(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "at": row["at"],
        "kind": row["kind"],
        "task_id": row["task_id"],
        "agent_id": row["agent_id"],
        "data": json.loads(row["data"]),
    }
