"""Finds words in what agents wrote on a task: posts, results, claims and skills."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    delete,
    false,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
)

from evolvent.hive.hub.schema import claims, posts, runs, search_entries, skills, tasks
from evolvent.hive.hub.times import now

MAX_WORDS = 20
MAX_TEXT = 100_000  # characters that are found again; Postgres refuses much longer texts
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Query:
    """What to find; None leaves a side open. `sort` is recent, upvotes or score, with :asc for the other way round."""

    words: str | None = None
    kind: str | None = None
    agent: str | None = None
    since: str | None = None
    sort: str = "recent"


def find_entries(connection: Connection, task: str, query: Query, *, most: int, offset: int = 0) -> list[Any]:
    """What fits, as the wire has it; scores sort by official numbers, the best first in the task's direction."""
    asked = _select_told().where(search_entries.c.task_id == task)
    asked = asked.where(or_(search_entries.c.kind != "claim", claims.c.expires_at > now()))
    if query.words is not None:
        asked = asked.where(has_words(connection, query.words))
    if query.kind is not None:
        asked = asked.where(search_entries.c.kind == query.kind)
    if query.agent is not None:
        asked = asked.where(search_entries.c.agent_id == query.agent)
    if query.since is not None:
        asked = asked.where(search_entries.c.created_at > query.since)
    rows = connection.execute(asked.order_by(*_order(query.sort)).limit(most).offset(offset)).mappings()
    return [_tell(dict(row)) for row in rows]


def _select_told() -> Select[Any]:
    entry = search_entries.c
    is_post = entry.kind.in_(("post", "result"))
    joined = (
        search_entries.join(tasks, tasks.c.id == entry.task_id)
        .outerjoin(posts, and_(is_post, posts.c.id == entry.ref))
        .outerjoin(runs, and_(runs.c.task_id == posts.c.task_id, runs.c.sha == posts.c.run_sha))
        .outerjoin(skills, and_(entry.kind == "skill", skills.c.id == entry.ref))
        .outerjoin(claims, and_(entry.kind == "claim", claims.c.id == entry.ref))
    )
    return select(
        *(entry.ref, entry.kind, entry.agent_id, entry.created_at),
        func.coalesce(posts.c.content, skills.c.description, claims.c.content).label("content"),
        func.coalesce(posts.c.upvotes, skills.c.upvotes, 0).label("upvotes"),
        *(posts.c.run_sha, runs.c.tldr, runs.c.claim, runs.c.value, runs.c.is_valid, runs.c.status),
        *(skills.c.name, claims.c.expires_at),
    ).select_from(joined)


def _order(sort: str) -> list[ColumnElement[Any]]:
    name, _, way = sort.partition(":")
    sign = case((tasks.c.direction == "minimize", -1.0), else_=1.0)
    columns: dict[str, ColumnElement[Any]] = {
        "recent": search_entries.c.created_at,
        "upvotes": func.coalesce(posts.c.upvotes, skills.c.upvotes, 0),
        "score": case((runs.c.is_valid, runs.c.value * sign)),
    }
    both = (columns[name], search_entries.c.id)
    first, last = (column.asc() if way == "asc" else column.desc() for column in both)
    return [first.nulls_last() if name == "score" else first, last]  # an index serves only what says nothing of nulls


def _tell(row: dict[str, Any]) -> dict[str, Any]:
    told = {"id": str(row["ref"]), "type": row["kind"], "agent_id": row["agent_id"], "content": row["content"] or ""}
    told |= {"upvotes": row["upvotes"], "created_at": row["created_at"], "score": None, "tldr": None}
    if row["kind"] == "result":
        is_official = row["value"] is not None and bool(row["is_valid"])
        told |= {"run_id": row["run_sha"], "tldr": row["tldr"] or "", "verified": is_official, "claim": row["claim"]}
        told |= {"score": row["value"] if is_official else None}  # the public client shows one number, unmarked
        told |= {"verified_score": row["value"], "verification_status": row["status"]}
    elif row["kind"] == "skill":
        told |= {"name": row["name"], "tldr": row["name"], "description": row["content"] or ""}
    elif row["kind"] == "claim":
        told |= {"expires_at": row["expires_at"]}
    return told


def has_words(connection: Connection, words: str) -> ColumnElement[bool]:
    """Whether an entry has all these words; without any word in it, it finds nothing."""
    found = _WORD.findall(unicodedata.normalize("NFKC", words))[:MAX_WORDS]
    if not found:
        return false()
    if connection.dialect.name == "sqlite":  # in quotes nothing is a sign of FTS5's own language
        quoted = " ".join(f'"{word}"' for word in found)
        rows = text("SELECT rowid FROM search_text WHERE search_text MATCH :words").bindparams(words=quoted)
        return search_entries.c.id.in_(rows.columns(search_entries.c.id))
    query = func.plainto_tsquery(literal_column("'english'"), " ".join(found))
    return literal_column("search_entries.words").op("@@")(query)


def index(connection: Connection, kind: str, ref: int, task: str, agent: str, words: str) -> None:
    """Let something be found by its words; `kind` is post, result, claim or skill, `ref` its number there."""
    row = {"kind": kind, "ref": ref, "task_id": task, "agent_id": agent, "text": plain_words(words)}
    connection.execute(insert(search_entries).values(**row, created_at=now()))


def plain_words(words: str) -> str:
    """The words alone, since each database cuts at other signs."""
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", words)))[:MAX_TEXT]


def forget(connection: Connection, kind: str, refs: Sequence[int] | Select[Any]) -> None:
    """Let things not be found any more."""
    gone = delete(search_entries).where(search_entries.c.kind == kind, search_entries.c.ref.in_(refs))
    connection.execute(gone)
