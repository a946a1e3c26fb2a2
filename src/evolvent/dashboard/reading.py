"""Reads what the pages of the whole hub say: tasks, agents, activity, search."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlalchemy import Connection, case, func, select

from evolvent.dashboard.activity import KINDS, tell_event
from evolvent.dashboard.scale import lay_scale
from evolvent.hive.hub.context import count_all
from evolvent.hive.hub.events import PRIVATE, read_events
from evolvent.hive.hub.identity import HOUSE
from evolvent.hive.hub.refusals import missing
from evolvent.hive.hub.runs import LISTED, tell_run
from evolvent.hive.hub.schema import agents, events, runs, tasks
from evolvent.hive.hub.search import Query, find_entries
from evolvent.hive.hub.tasks import list_tasks

Said = dict[str, Any]

PER_PAGE = 30
NUM_EVENTS = 40
MAX_TASKS = 100
OFFICIAL = runs.c.value.is_not(None) & runs.c.is_valid


def read_home(connection: Connection, page: int) -> Said:
    """The tasks with how their best came about, and what there is on this hub."""
    found = list_tasks(connection, "", most=PER_PAGE + 1, offset=(page - 1) * PER_PAGE)
    shown = found[:PER_PAGE]
    asked = select(runs.c.task_id, runs.c.number, runs.c.value).where(OFFICIAL, runs.c.is_kept.is_(True))
    kept = defaultdict(list)
    for task_id, number, value in connection.execute(
        asked.where(runs.c.task_id.in_([one["id"] for one in shown])).order_by(runs.c.number)
    ):
        kept[task_id].append((number, value))
    for one in shown:
        one["is_more_better"] = one["direction"] == "maximize"
        one["kept"] = kept[one["id"]]
        values = [value for _, value in one["kept"]]
        one["best"] = lay_scale(values, one["is_more_better"]).write(one["best_score"])
    return {"tasks": shown, "page": page, "has_next": len(found) > PER_PAGE, "totals": count_all(connection)}


def read_agents(connection: Connection, page: int) -> Said:
    """Who is here, the busiest first; the hub itself is nobody."""
    asked = select(agents).where(agents.c.id != HOUSE).order_by(agents.c.num_runs.desc(), agents.c.id)
    found = connection.execute(asked.limit(PER_PAGE + 1).offset((page - 1) * PER_PAGE)).mappings().all()
    counts = _count_runs(connection, [row["id"] for row in found])
    shown = [_tell_agent(dict(row), counts.get(row["id"], [])) for row in found[:PER_PAGE]]
    return {"agents": shown, "page": page, "has_next": len(found) > PER_PAGE}


def read_agent(connection: Connection, name: str) -> Said:
    """One agent: its runs by task, and the latest of them."""
    row = connection.execute(select(agents).where(agents.c.id == name)).mappings().first()
    if row is None:
        raise missing("agent", name)
    by_task = _count_runs(connection, [name]).get(name, [])
    latest = select(*LISTED).where(runs.c.agent_id == name).order_by(runs.c.created_at.desc()).limit(PER_PAGE)
    told = [tell_run(one, "") for one in connection.execute(latest).mappings()]
    return {"agent": _tell_agent(dict(row), by_task), "by_task": by_task, "runs": told}


def read_live(connection: Connection, task_id: str | None = None) -> Said:
    """The latest of what happened, and from which number on a page has to listen."""
    asked = select(events.c.id).where(events.c.kind.not_in(PRIVATE)).order_by(events.c.id.desc())
    if task_id:
        asked = asked.where(events.c.task_id == task_id)
    newest = list(connection.execute(asked.limit(NUM_EVENTS)).scalars())
    after = newest[-1] - 1 if newest else 0
    last = connection.execute(select(func.max(events.c.id))).scalar() or 0
    return {"activity": read_rows(connection, after, task_id), "last_event": last, "kinds": KINDS}


def read_rows(connection: Connection, after: int, task_id: str | None = None) -> list[Said]:
    """What happened after an event, the latest first."""
    return [tell_event(one) for one in reversed(read_events(connection, after, task=task_id, most=200))]


def read_search(connection: Connection, query: Query, task_id: str, page: int) -> Said:
    """What agents wrote that has these words, on one task or on all, the latest first."""
    known = list(connection.execute(select(tasks.c.id).order_by(tasks.c.created_at.desc()).limit(MAX_TASKS)).scalars())
    chosen = [one for one in known if not task_id or one == task_id]
    offset = (page - 1) * PER_PAGE
    found = [
        one | {"task_id": name}
        for name in chosen
        for one in find_entries(connection, name, query, most=offset + PER_PAGE + 1)
    ]
    found.sort(key=lambda one: str(one["created_at"]), reverse=True)
    shown = [_point(one) for one in found[offset : offset + PER_PAGE]]
    return {"tasks": known, "results": shown, "page": page, "has_next": len(found) > offset + PER_PAGE}


def _count_runs(connection: Connection, names: list[str]) -> dict[str, list[Said]]:
    """By agent, for each task: runs, official ones, kept ones, and the best official number of its own."""
    number = case((OFFICIAL, runs.c.value))
    best = case((tasks.c.direction == "minimize", func.min(number)), else_=func.max(number))
    asked = (
        select(
            runs.c.agent_id,
            runs.c.task_id,
            func.count().label("num_runs"),
            func.sum(case((OFFICIAL, 1), else_=0)).label("num_official"),
            func.sum(case((OFFICIAL & runs.c.is_kept.is_(True), 1), else_=0)).label("num_kept"),
            best.label("best"),
        )
        .join(tasks, tasks.c.id == runs.c.task_id)
        .where(runs.c.agent_id.in_(names))
        .group_by(runs.c.agent_id, runs.c.task_id, tasks.c.direction)
        .order_by(runs.c.task_id)
    )
    found = defaultdict(list)
    for row in connection.execute(asked).mappings():
        found[row["agent_id"]].append(dict(row))
    return found


def _tell_agent(row: Said, by_task: list[Said]) -> Said:
    sums = {name: sum(one[name] for one in by_task) for name in ("num_official", "num_kept", "num_runs")}
    names = ("id", "registered_at", "last_seen_at", "revoked_at")  # nothing of its token
    return {name: row[name] for name in names} | sums | {"num_tasks": len(by_task)}


def _point(one: Said) -> Said:
    """What was found, with its address and a title."""
    home, kind = f"/tasks/{one['task_id']}", one["type"]
    ends = {
        "post": f"/feed/{one['id']}",
        "result": f"/runs/{one.get('run_id')}",
        "skill": "/skills",
        "claim": "#working",
    }
    title = one.get("tldr") or one.get("name") or one["content"]
    return one | {"href": home + ends.get(kind, ""), "title": title}
