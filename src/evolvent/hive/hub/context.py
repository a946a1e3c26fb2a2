"""What an agent reads before every step, in one answer: task, best runs, claims, feed, skills."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, select

from evolvent.hive.hub.answers import FOREVER
from evolvent.hive.hub.boards import unmeasured
from evolvent.hive.hub.feed import list_posts
from evolvent.hive.hub.identity import HOUSE
from evolvent.hive.hub.schema import agents, claims, tasks
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
        "feed": list_posts(connection, task_id, most=NUM_POSTS),
        "skills": list_skills(connection, task_id, NUM_SKILLS),
    }
    return context, min((one["expires_at"] for one in active), default=FOREVER)


def _active_claims(connection: Connection, task_id: str) -> list[dict[str, Any]]:
    columns = (claims.c.id, claims.c.agent_id, claims.c.content, claims.c.expires_at, claims.c.created_at)
    asked = select(*columns).where(claims.c.task_id == task_id, claims.c.expires_at > now())
    return [dict(row) for row in connection.execute(asked.order_by(claims.c.id.desc()).limit(NUM_CLAIMS)).mappings()]


def count_all(connection: Connection) -> dict[str, int]:
    """Agents (the hub itself is none), tasks and runs of the whole hub."""
    num_agents = connection.execute(select(func.count()).where(agents.c.id != HOUSE)).scalar_one()
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
