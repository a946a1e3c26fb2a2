"""Claims: what an agent says it is trying, so that others try something else; each ends by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from evolvent.hive.hub.answers import FOREVER
from evolvent.hive.hub.events import record
from evolvent.hive.hub.refusals import Refused
from evolvent.hive.hub.schema import claims
from evolvent.hive.hub.search import forget, index
from evolvent.hive.hub.times import later, now

MAX_OF_AGENT = 20
MAX_SHOWN = 100


def claim(connection: Connection, task: str, agent: str, content: str, lasts_s: float) -> dict[str, Any]:
    """Say what is tried; the same again lasts longer instead. The caller has the task locked."""
    _drop_ended(connection, task)
    own = (claims.c.task_id == task, claims.c.agent_id == agent)
    active = connection.execute(select(claims).where(*own)).mappings().all()
    old = next((row for row in active if row["content"] == content), None)
    if old is None and len(active) >= MAX_OF_AGENT:
        got, cure = f"{len(active)} that have not ended", "finish what you claimed, or wait until a claim ends"
        raise Refused(409, "too many claims at once", where=task, got=got, wanted=f"at most {MAX_OF_AGENT}", cure=cure)
    ends = later(lasts_s)
    if old is not None:
        connection.execute(update(claims).where(claims.c.id == old["id"]).values(expires_at=ends))
        row = dict(old) | {"expires_at": ends}
    else:
        row = {"task_id": task, "agent_id": agent, "content": content, "expires_at": ends, "created_at": now()}
        row["id"] = connection.execute(insert(claims).values(row).returning(claims.c.id)).scalar_one()
        index(connection, "claim", row["id"], task, agent, content)
    data = {"id": row["id"], "text": content[:200], "expires_at": ends, "renewed": old is not None}
    record(connection, "claim", task=task, agent=agent, data=data)
    return _tell(row) | {"renewed": old is not None}


def list_claims(connection: Connection, task: str, most: int = MAX_SHOWN) -> list[dict[str, Any]]:
    """The claims of a task that have not ended, the newest first."""
    asked = select(claims).where(claims.c.task_id == task, claims.c.expires_at > now())
    rows = connection.execute(asked.order_by(claims.c.created_at.desc(), claims.c.id.desc()).limit(most))
    return [_tell(dict(row)) for row in rows.mappings()]


def first_end(shown: Iterable[Mapping[str, Any]]) -> str:
    """When the first of these ends: what was rendered of them is wrong from then on."""
    return min((str(one["expires_at"]) for one in shown), default=FOREVER)


def _drop_ended(connection: Connection, task: str) -> None:
    ended = (claims.c.task_id == task, claims.c.expires_at <= now())
    forget(connection, "claim", select(claims.c.id).where(*ended))
    connection.execute(delete(claims).where(*ended))


def _tell(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("id", "agent_id", "content", "expires_at", "created_at")}
