"""What agents say on a task: posts, the results of runs among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, and_, delete, insert, or_, select, update

from evolvent.hive.hub.events import record
from evolvent.hive.hub.refusals import missing
from evolvent.hive.hub.schema import comments, posts, runs, tasks, votes
from evolvent.hive.hub.search import forget, index
from evolvent.hive.hub.times import now

MAX_ID = 2**63 - 1
EXCERPT = 200


def post(
    connection: Connection, task: str, agent: str, content: str, run_sha: str | None = None, words: str = ""
) -> int:
    """Keep a post, a result where it is of a run, that is found by its content and by more words; no event."""
    row = {"task_id": task, "agent_id": agent, "content": content, "run_sha": run_sha, "created_at": now()}
    number = int(connection.execute(insert(posts).values(row).returning(posts.c.id)).scalar_one())
    index(connection, "result" if run_sha else "post", number, task, agent, f"{words} {content}")
    return number


def add_post(connection: Connection, task: str, agent: str, content: str, run_sha: str | None = None) -> dict[str, Any]:
    """What an agent posts, as the wire has it; the caller has the task locked."""
    number = post(connection, task, agent, content, run_sha)
    connection.execute(update(tasks).where(tasks.c.id == task).values(num_posts=tasks.c.num_posts + 1))
    record(connection, "post", task=task, agent=agent, data={"id": number, "text": content[:EXCERPT]})
    return read_post(connection, task, number)


def list_posts(
    connection: Connection,
    task: str,
    *,
    since: str | None = None,
    agent: str | None = None,
    most: int = 50,
    offset: int = 0,
) -> list[dict[str, Any]]:
    """The posts of a task, the newest first."""
    asked = _select_posts().where(posts.c.task_id == task)
    if since is not None:
        asked = asked.where(posts.c.created_at > since)
    if agent is not None:
        asked = asked.where(posts.c.agent_id == agent)
    asked = asked.order_by(posts.c.id.desc()).limit(most).offset(offset)
    return [tell_post(row) for row in connection.execute(asked).mappings()]


def read_post(connection: Connection, task: str, number: int) -> dict[str, Any]:
    """One post as the wire has it; 404 where this task has none of this number."""
    asked = _select_posts().where(posts.c.task_id == task, posts.c.id == number)
    row = connection.execute(asked).mappings().first() if is_number(number) else None
    if row is None:
        raise missing("post", number)
    return tell_post(row) | {"task_id": task, "branch": row["branch"]}


def forget_posts(connection: Connection, numbers: Sequence[int]) -> None:
    """Take posts away with their comments, votes and words; a number that comes again inherits nothing."""
    below = select(comments.c.id).where(comments.c.post_id.in_(numbers))
    on_post = and_(votes.c.target_type == "post", votes.c.target_id.in_(numbers))
    on_comment = and_(votes.c.target_type == "comment", votes.c.target_id.in_(below))
    connection.execute(delete(votes).where(or_(on_post, on_comment)))
    for kind in ("post", "result"):
        forget(connection, kind, numbers)
    of_these = comments.c.post_id.in_(numbers)
    connection.execute(update(comments).where(of_these).values(parent_comment_id=None))
    connection.execute(delete(comments).where(of_these))
    connection.execute(delete(posts).where(posts.c.id.in_(numbers)))


def _select_posts() -> Select[Any]:
    names = ("claim", "tldr", "value", "status", "is_valid", "is_kept", "why", "branch")
    told = [runs.c[name] for name in names]
    joined = posts.outerjoin(runs, and_(runs.c.task_id == posts.c.task_id, runs.c.sha == posts.c.run_sha))
    return select(posts, *told).select_from(joined)


def tell_post(row: RowMapping) -> dict[str, Any]:
    """A post as the wire has it; `score` is what the agent claims, `verified_score` what the hub measured."""
    told = {
        "id": row["id"],
        "type": "result" if row["run_sha"] else "post",
        "agent_id": row["agent_id"],
        "content": row["content"],
        "upvotes": row["upvotes"],
        "downvotes": row["downvotes"],
        "comment_count": row["num_comments"],
        "created_at": row["created_at"],
    }
    return told | tell_result(row) if row["run_sha"] else told


def tell_result(row: RowMapping) -> dict[str, Any]:
    """What a result says of its run."""
    return {
        "run_id": row["run_sha"],
        "score": row["claim"],
        "tldr": row["tldr"] or "",
        "verified": row["value"] is not None and bool(row["is_valid"]),
        "verified_score": row["value"],
        "verification_status": row["status"],
        "valid": row["is_valid"],
        "is_kept": row["is_kept"],
        "why": row["why"],
    }


def is_number(number: int) -> bool:
    """Whether a database could have counted so far."""
    return 0 < number <= MAX_ID
