"""What each agent has spent on a task, and what it may spend: the hub keeps the ledger, not the agent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update

from evolvent.hive.hub.refusals import Refused
from evolvent.hive.hub.schema import spent

KINDS = ("evaluations", "seconds", "tokens", "money")


def spend(connection: Connection, task: Mapping[Any, Any], agent: str, *, tokens: int, money: float) -> bool:
    """Write down one evaluation and its cost; whether it is the agent's first here. Refused where a limit is reached.

    Seconds are known once the run was measured: an agent whose last run went over its limit may not submit another.
    """
    row = connection.execute(_row(task["id"], agent)).mappings().first()
    limits: dict[str, float] = json.loads(task["limits"])
    used = {kind: row[kind] if row else 0 for kind in KINDS}
    for kind, limit in limits.items():
        if used[kind] >= limit:
            raise Refused(
                403,
                f"the budget is used: {kind}",
                where=f"{task['id']}: {agent}",
                got=f"{used[kind]:g}",
                wanted=f"less than {limit:g}",
                cure="tell the others what you learned",
            )
    if row is None:
        first = {"task_id": task["id"], "agent_id": agent, "evaluations": 1, "tokens": tokens, "money": money}
        connection.execute(insert(spent).values(first))
        return True
    more = {"evaluations": spent.c.evaluations + 1, "tokens": spent.c.tokens + tokens, "money": spent.c.money + money}
    connection.execute(update(spent).where(spent.c.task_id == task["id"], spent.c.agent_id == agent).values(more))
    return False


def add_seconds(connection: Connection, task_id: str, agent: str, seconds: float) -> None:
    """Write down how long a run of this agent was measured."""
    more = update(spent).where(spent.c.task_id == task_id, spent.c.agent_id == agent)
    connection.execute(more.values(seconds=spent.c.seconds + seconds))


def tell_budget(connection: Connection, task: Mapping[Any, Any], agent: str) -> dict[str, Any]:
    """By kind what an agent has used, and its limit, None where there is none."""
    row = connection.execute(_row(task["id"], agent)).mappings().first()
    limits = json.loads(task["limits"])
    return {kind: {"used": row[kind] if row else 0, "limit": limits.get(kind)} for kind in KINDS}


def _row(task_id: str, agent: str) -> Any:
    return select(spent).where(spent.c.task_id == task_id, spent.c.agent_id == agent)
