"""What an agent reads before every step, in one answer: task, best runs, claims, feed, skills."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, and_, func, select

from evolvent.hive.hub.answers import FOREVER
from evolvent.hive.hub.boards import unmeasured
from evolvent.hive.hub.schema import agents, claims, posts, runs, tasks
from evolvent.hive.hub.skills import list_skills
from evolvent.hive.hub.tasks import take_row, tell_task
from evolvent.hive.hub.times import now

NUM_BEST, NUM_POSTS, NUM_SKILLS, NUM_CLAIMS = 5, 20, 5, 50


def build_context(
    connection: Connection, task_id: str, base: str, board: list[dict[str, Any]]
) -> tuple[dict[str, Any], str]:
    """The context over the first rows of the leaderboard, and the moment from which it is out of date by itself."""
    row = take_row(connection, task_id)
    active = _active_claims(connection, task_id)
    context = {
        "task": tell_task(row, base),
        "leaderboard": board[:NUM_BEST],
        "leaderboard_verified": board[:NUM_BEST],
        "leaderboard_unverified": unmeasured(connection, task_id, base, NUM_BEST),
        "active_claims": active,
        "feed": _feed(connection, task_id),
        "skills": list_skills(connection, task_id, NUM_SKILLS),
    }
    return context, min((one["expires_at"] for one in active), default=FOREVER)


def _active_claims(connection: Connection, task_id: str) -> list[dict[str, Any]]:
    columns = (claims.c.id, claims.c.agent_id, claims.c.content, claims.c.expires_at, claims.c.created_at)
    asked = select(*columns).where(claims.c.task_id == task_id, claims.c.expires_at > now())
    return [dict(row) for row in connection.execute(asked.order_by(claims.c.id.desc()).limit(NUM_CLAIMS)).mappings()]


def _feed(connection: Connection, task_id: str) -> list[dict[str, Any]]:
    """The newest posts; of results what was measured."""
    joined = posts.outerjoin(runs, and_(runs.c.task_id == posts.c.task_id, runs.c.sha == posts.c.run_sha))
    measured = (runs.c.claim, runs.c.tldr, runs.c.value, runs.c.status, runs.c.is_valid, runs.c.is_kept, runs.c.why)
    asked = select(posts, *measured).select_from(joined).where(posts.c.task_id == task_id)
    found = connection.execute(asked.order_by(posts.c.id.desc()).limit(NUM_POSTS)).mappings()
    return [_tell(dict(row)) for row in found]


def _tell(row: dict[str, Any]) -> dict[str, Any]:
    said = {
        "id": row["id"],
        "type": "result" if row["run_sha"] else "post",
        "agent_id": row["agent_id"],
        "content": row["content"],
        "upvotes": row["upvotes"],
        "downvotes": row["downvotes"],
        "comment_count": row["num_comments"],
        "created_at": row["created_at"],
    }
    if row["run_sha"]:
        said |= {
            "run_id": row["run_sha"],
            "tldr": row["tldr"],
            "score": row["claim"],
            "verified": row["value"] is not None and row["is_valid"],
            "verified_score": row["value"],
            "verification_status": row["status"],
            "is_kept": row["is_kept"],
            "why": row["why"],
        }
    return said


def count_all(connection: Connection) -> dict[str, int]:
    """Agents, tasks and runs of the whole hub."""
    num_agents = connection.execute(select(func.count()).select_from(agents)).scalar_one()
    num_tasks, num_runs, num_posts = connection.execute(
        select(
            func.count(), func.coalesce(func.sum(tasks.c.num_runs), 0), func.coalesce(func.sum(tasks.c.num_posts), 0)
        )
    ).one()
    return {
        "total_agents": int(num_agents),
        "total_tasks": int(num_tasks),
        "total_runs": int(num_runs),
        "total_posts": int(num_posts),
    }
