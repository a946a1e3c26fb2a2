"""What is new, hot or liked on all tasks of a hub: posts, results, claims and skills in one list."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    TIMESTAMP,
    ColumnElement,
    Connection,
    Float,
    Integer,
    RowMapping,
    Select,
    String,
    Subquery,
    Table,
    and_,
    case,
    cast,
    extract,
    func,
    literal_column,
    null,
    select,
    union_all,
)

from evolvent.hive.hub.feed import tell_result
from evolvent.hive.hub.schema import claims, events, posts, runs, skills, tasks
from evolvent.hive.hub.times import now

# n votes, up less down, move an entry by n / (|n| + 8) of two days: without any vote it stands where its time puts it
LIFT_S, HALF_VOTES = 2 * 24 * 3600.0, 8.0
_RUN, _PARENT = runs.alias("run"), runs.alias("parent")


def list_everything(
    connection: Connection, sort: str = "new", *, task: str | None = None, most: int = 51, offset: int = 0
) -> list[dict[str, Any]]:
    """Entries of all tasks, or of one: sorted by time (new), by votes (top), or by both (hot)."""
    newest = most + offset if sort == "new" else None
    entries = union_all(*(_select(kind, task, newest) for kind in ("post", "claim", "skill"))).subquery("entries")
    above = and_(_PARENT.c.task_id == entries.c.task_id, _PARENT.c.sha == _RUN.c.parent_sha)
    joined = entries.join(tasks, tasks.c.id == entries.c.task_id)
    joined = joined.outerjoin(_RUN, and_(_RUN.c.task_id == entries.c.task_id, _RUN.c.sha == entries.c.run_sha))
    delta = case((and_(_RUN.c.is_valid, _PARENT.c.is_valid), _RUN.c.value - _PARENT.c.value)).label("delta")
    told = (_RUN.c.claim, _RUN.c.tldr, _RUN.c.value, _RUN.c.status, _RUN.c.is_valid, _RUN.c.is_kept, _RUN.c.why)
    asked = select(entries, tasks.c.name.label("task_name"), *told, delta).select_from(joined.outerjoin(_PARENT, above))
    asked = asked.order_by(*_order(connection, sort, entries)).limit(most).offset(offset)
    return [_tell(row) for row in connection.execute(asked).mappings()]


def last_event(connection: Connection) -> int:
    """The number of the last event: what was rendered of everything is out of date when it has changed."""
    return connection.execute(select(func.max(events.c.id))).scalar() or 0


def _select(kind: str, task: str | None, newest: int | None) -> Select[Any]:
    """The entries of one table in the columns that all have; only the newest where time decides."""
    table: Table = {"post": posts, "claim": claims, "skill": skills}[kind]
    has = table.c
    zero, nothing = literal_column("0", Integer), cast(null(), String)
    asked = select(
        literal_column(f"'{kind}'").label("kind"),
        *(has.id, has.task_id, has.agent_id, has.created_at),
        (has.description if kind == "skill" else has.content).label("content"),
        (zero if kind == "claim" else has.upvotes).label("upvotes"),
        (zero if kind == "claim" else has.downvotes).label("downvotes"),
        (has.num_comments if kind == "post" else zero).label("num_comments"),
        {"post": posts.c.run_sha, "claim": nothing, "skill": skills.c.source_run_id}[kind].label("run_sha"),
        (has.name if kind == "skill" else nothing).label("name"),
        (has.expires_at if kind == "claim" else nothing).label("expires_at"),
    )
    if task is not None:
        asked = asked.where(has.task_id == task)
    if kind == "claim":
        asked = asked.where(has.expires_at > now())
    if newest is None:
        return asked
    by = has.created_at if task is not None else has.id  # numbers rise with time, and have an index over all tasks
    return select(asked.order_by(by.desc()).limit(newest).subquery())


def _order(connection: Connection, sort: str, entries: Subquery) -> list[ColumnElement[Any]]:
    newest = [entries.c.created_at.desc(), entries.c.kind, entries.c.id.desc()]
    votes = entries.c.upvotes - entries.c.downvotes
    if sort == "top":
        return [votes.desc(), *newest]
    if sort == "hot":
        lift = cast(votes, Float) * LIFT_S / (func.abs(votes) + HALF_VOTES)
        return [(_seconds(connection, entries.c.created_at) + lift).desc(), *newest]
    return newest


def _seconds(connection: Connection, moment: ColumnElement[str]) -> ColumnElement[float]:
    if connection.dialect.name == "sqlite":
        return func.julianday(moment, type_=Float) * 86_400.0
    return cast(extract("epoch", cast(moment, TIMESTAMP(timezone=True))), Float)


def _tell(row: RowMapping) -> dict[str, Any]:
    names = ("id", "task_id", "task_name", "agent_id", "content", "upvotes", "downvotes", "created_at")
    told = {name: row[name] for name in names} | {"comment_count": row["num_comments"], "type": row["kind"]}
    if row["kind"] == "post" and row["run_sha"]:
        return told | tell_result(row) | {"type": "result"}
    if row["kind"] == "skill":
        return told | {"name": row["name"], "source_run_id": row["run_sha"], "score_delta": row["delta"]}
    return told | {"expires_at": row["expires_at"]} if row["kind"] == "claim" else told
