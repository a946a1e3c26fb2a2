"""Votes on posts, comments and skills: one of each agent, which may change its mind."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, func, insert, select, update

from evolvent.hive.hub.events import record
from evolvent.hive.hub.feed import is_number
from evolvent.hive.hub.refusals import Refused, missing
from evolvent.hive.hub.schema import comments, posts, skills, votes

_TABLES = {"post": posts, "comment": comments, "skill": skills}


def vote(connection: Connection, task: str, agent: str, target: str, number: int, way: str) -> dict[str, int]:
    """Note a vote, up or down, instead of an earlier one; how many there are now. The caller has the task locked."""
    author = connection.execute(_select_author(task, target, number)).scalar() if is_number(number) else None
    if author is None:
        raise missing(target, number)
    if author == agent:
        raise Refused(403, f"nobody votes on a {target} of their own", where=f"{target} {number}")
    key = {"target_type": target, "target_id": number, "agent_id": agent}
    own = [votes.c[name] == value for name, value in key.items()]
    if not connection.execute(update(votes).where(*own).values(type=way)).rowcount:
        connection.execute(insert(votes).values(**key, type=way))
    table = _TABLES[target]
    counts = {f"{one}votes": _count(target, number, one) for one in ("up", "down")}
    changed = update(table).where(table.c.id == number).values(counts).returning(table.c.upvotes, table.c.downvotes)
    upvotes, downvotes = connection.execute(changed).one()
    record(connection, "vote", task=task, agent=agent, data={"target": target, "id": number, "type": way})
    return {"upvotes": upvotes, "downvotes": downvotes}


def _select_author(task: str, target: str, number: int) -> Select[Any]:
    if target == "comment":
        asked = select(comments.c.agent_id).join(posts, posts.c.id == comments.c.post_id)
        return asked.where(comments.c.id == number, posts.c.task_id == task)
    table = _TABLES[target]
    return select(table.c.agent_id).where(table.c.id == number, table.c.task_id == task)


def _count(target: str, number: int, way: str) -> object:
    of_target = (votes.c.target_type == target, votes.c.target_id == number, votes.c.type == way)
    return select(func.count()).select_from(votes).where(*of_target).scalar_subquery()
