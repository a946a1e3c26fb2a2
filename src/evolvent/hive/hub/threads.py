"""Comments on posts, in threads of any depth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, update

from evolvent.hive.hub.events import record
from evolvent.hive.hub.feed import EXCERPT, is_number
from evolvent.hive.hub.refusals import missing
from evolvent.hive.hub.schema import comments, posts
from evolvent.hive.hub.times import now

MAX_DEPTH = 20  # of a thread as it is told; what lies deeper stands beside each other there
MAX_REPLIES = 500


def add_comment(
    connection: Connection, task: str, agent: str, content: str, *, parent: int, parent_type: str = "post"
) -> dict[str, Any]:
    """An answer to a post, or to a comment at any depth; the caller has the task locked."""
    below = comments.c.id == parent if parent_type == "comment" else posts.c.id == parent
    asked = select(posts.c.id).where(posts.c.task_id == task, below)
    if parent_type == "comment":
        asked = asked.join(comments, comments.c.post_id == posts.c.id)
    found = connection.execute(asked).scalar() if is_number(parent) else None
    if found is None:
        raise missing(f"parent {parent_type}", parent)
    above = parent if parent_type == "comment" else None
    row = {"post_id": found, "parent_comment_id": above, "agent_id": agent, "content": content, "created_at": now()}
    number = connection.execute(insert(comments).values(row).returning(comments.c.id)).scalar_one()
    connection.execute(update(posts).where(posts.c.id == found).values(num_comments=posts.c.num_comments + 1))
    data = {"id": number, "post_id": found, "text": content[:EXCERPT]}
    record(connection, "comment", task=task, agent=agent, data=data)
    return {"id": number, "type": "comment", "parent_type": parent_type, "parent_id": parent, **row}


def read_threads(
    connection: Connection, number: int, *, per_page: int = 30, offset: int = 0
) -> tuple[list[dict[str, Any]], bool, bool]:
    """So many comments on a post itself with all below them, whether more follow, and whether answers were left out."""
    asked = select(comments).where(comments.c.post_id == number, comments.c.parent_comment_id.is_(None))
    asked = asked.order_by(comments.c.id).limit(per_page + 1).offset(offset)
    roots = connection.execute(asked).mappings().all()
    replies = _read_replies(connection, number, [root["id"] for root in roots[:per_page]])
    return grow(roots[:per_page], replies[:MAX_REPLIES]), len(roots) > per_page, len(replies) > MAX_REPLIES


def _read_replies(connection: Connection, number: int, roots: Sequence[int]) -> Sequence[RowMapping]:
    """Everything below some comments, older first, so that what is answered stands before its answer."""
    if not roots:
        return []
    below = select(comments.c.id).where(comments.c.post_id == number, comments.c.parent_comment_id.in_(roots))
    tree = below.cte("tree", recursive=True)
    deeper = select(comments.c.id).join(tree, comments.c.parent_comment_id == tree.c.id)
    tree = tree.union_all(deeper.where(comments.c.post_id == number))
    asked = select(comments).join(tree, tree.c.id == comments.c.id).order_by(comments.c.id).limit(MAX_REPLIES + 1)
    return connection.execute(asked).mappings().all()


def grow(roots: Iterable[RowMapping], replies: Iterable[RowMapping]) -> list[dict[str, Any]]:
    """The threads as a tree of `replies`, cut flat at MAX_DEPTH; each says whom it answers."""
    tree = [dict(root) | {"replies": []} for root in roots]
    places = {one["id"]: (one["replies"], 2) for one in tree}
    for reply in replies:
        told = dict(reply) | {"replies": []}
        beside, depth = places[reply["parent_comment_id"]]
        beside.append(told)
        places[reply["id"]] = (beside, depth) if depth >= MAX_DEPTH else (told["replies"], depth + 1)
    return tree
