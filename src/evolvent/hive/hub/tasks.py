"""Tasks of a hub: opened from a folder with their baseline as the first run, listed, told, closed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, func, insert, or_, select, update

from evolvent.errors import BadInput
from evolvent.hive.hub.events import record
from evolvent.hive.hub.feed import post
from evolvent.hive.hub.hub import Hub
from evolvent.hive.hub.identity import HOUSE, User, ensure_house
from evolvent.hive.hub.jobs import enqueue
from evolvent.hive.hub.places import upstream_url
from evolvent.hive.hub.refs import MAIN, read_ref, write_ref
from evolvent.hive.hub.refusals import Refused, missing
from evolvent.hive.hub.repositories import name_base
from evolvent.hive.hub.schema import commits, runs, tasks
from evolvent.hive.hub.times import now
from evolvent.hive.task import PROGRAM, HiveTask

OPEN, CLOSED = "open", "closed"
LIMITED = ("evaluations", "seconds", "tokens", "money")
MAX_DESCRIPTION = 350


@dataclass(frozen=True, slots=True)
class Opening:
    """How a task is opened: its name for people, whose it is, and what each agent may spend on it."""

    name: str = ""
    description: str = ""
    owner: User | None = None
    limits: Mapping[str, float] | None = None


def open_task(hub: Hub, task: HiveTask, opening: Opening | None = None) -> dict[str, Any]:
    """Keep a task and its baseline, which is measured like any run; the same task again changes nothing."""
    opening = opening or Opening()
    limits = check_limits({"evaluations": task.budget.evaluations, **(opening.limits or {})})
    with hub.database.read() as connection:
        _refuse_another(_find_row(connection, task.name), task)  # before anything of it is kept
    digest, base = hub.shelf.put(task), hub.repositories.publish(task)
    with hub.database.write() as connection:
        row = _find_row(connection, task.name)
        if row is None:
            ensure_house(connection)
            connection.execute(insert(tasks).values(_row(task, opening, digest, base) | {"limits": json.dumps(limits)}))
            record(connection, "task", task=task.name, user=opening.owner.id if opening.owner else None)
            _enter_baseline(connection, task, digest, base)
            row = take_row(connection, task.name)
    _lead_main(hub, task.name, row["base_sha"])
    _refuse_another(row, task)  # it may have been opened meanwhile
    return tell_task(row, "")


def _refuse_another(row: RowMapping | None, task: HiveTask) -> None:
    if row is not None and row["digest"] != task.digest:
        raise Refused(
            409,
            "another task has this name, and its runs were measured by that one",
            where=task.name,
            got=task.digest[:12],
            wanted=row["digest"][:12],
            cure="open the new version under a name of its own",
        )


def _lead_main(hub: Hub, name: str, base: str) -> None:
    """Let new agents start from the baseline of the task, whatever else was published under its name."""
    with hub.repositories.alone(name_base(name)):
        path = hub.repositories.path(name_base(name))
        if read_ref(path, MAIN) != base and hub.repositories.knows(name, None, base):
            write_ref(path, MAIN, base)


def _row(task: HiveTask, opening: Opening, digest: str, base: str) -> dict[str, Any]:
    at = now()
    return {
        "id": task.name,
        "name": opening.name or task.name,
        "description": (opening.description or task.description)[:MAX_DESCRIPTION],
        "program": task.files[PROGRAM].decode("utf-8", "replace"),
        "config": json.dumps(task.tell(), ensure_ascii=False),
        "digest": digest,
        "base_sha": base,
        "direction": task.direction.value,
        "owner_id": opening.owner.id if opening.owner else None,
        "created_at": at,
        "last_activity": at,
        "num_runs": 1,
        "num_posts": 1,
    }


def _enter_baseline(connection: Connection, task: HiveTask, digest: str, base: str) -> None:
    at, words = now(), "the baseline that everybody starts from"
    connection.execute(insert(commits).values(task_id=task.name, agent_id=HOUSE, sha=base, pushed_at=at))
    row = {"task_id": task.name, "sha": base, "number": 1, "agent_id": HOUSE, "branch": "main", "tldr": "baseline"}
    row |= {"message": words, "task_digest": digest, "status": "pending", "created_at": at}
    connection.execute(insert(runs).values(row))
    number = post(connection, task.name, HOUSE, words, run_sha=base)
    connection.execute(update(runs).where(runs.c.task_id == task.name, runs.c.sha == base).values(post_id=number))
    record(connection, "run", task=task.name, agent=HOUSE, data={"sha": base, "number": 1, "tldr": "baseline"})
    enqueue(connection, task.name, base, "measure")


def take_row(connection: Connection, task_id: str) -> RowMapping:
    """The row of a task; 404 where there is none."""
    row = _find_row(connection, task_id)
    if row is None:
        raise missing("task", task_id)
    return row


def _find_row(connection: Connection, task_id: str) -> RowMapping | None:
    return connection.execute(select(tasks).where(tasks.c.id == task_id)).mappings().first()


def take_version(connection: Connection, task_id: str) -> tuple[int, int]:
    """Two numbers that change with anything that is said of a task, and with any of its official numbers."""
    row = connection.execute(select(tasks.c.version, tasks.c.board_version).where(tasks.c.id == task_id)).first()
    if row is None:
        raise missing("task", task_id)
    return int(row[0]), int(row[1])


def lock_open(connection: Connection, task_id: str) -> RowMapping:
    """The row of an open task, kept for this transaction alone; 409 where the task is closed."""
    locked = update(tasks).where(tasks.c.id == task_id).values(version=tasks.c.version + 1).returning(tasks)
    row = connection.execute(locked).mappings().first()
    if row is None:
        raise missing("task", task_id)
    if row["state"] != OPEN:
        raise Refused(409, "this task is closed", where=task_id, cure="read what was learned; work on another")
    return row


def list_tasks(connection: Connection, base: str, query: str = "", *, most: int = 21, offset: int = 0) -> list[Any]:
    """The tasks, the newest first; with words, those whose name or description has all of them."""
    asked: Select[Any] = select(tasks)
    for word in query.split()[:10]:
        found = func.lower(tasks.c.id + " " + tasks.c.name + " " + tasks.c.description)
        asked = asked.where(or_(found.contains(word.lower(), autoescape=True)))
    rows = connection.execute(asked.order_by(tasks.c.created_at.desc(), tasks.c.id).limit(most).offset(offset))
    return [tell_task(row, base) for row in rows.mappings()]


def find_range(connection: Connection, task_id: str) -> tuple[float, float] | None:
    """What the metric of a task can be at the least and at the most, where the task says so."""
    config = connection.execute(select(tasks.c.config).where(tasks.c.id == task_id)).scalar_one()
    ends = json.loads(config).get("range")
    return (ends[0], ends[1]) if ends else None


def tell_task(row: RowMapping, base: str) -> dict[str, Any]:
    """A task as the wire has it; the program in full, nothing sealed."""
    config = json.loads(row["config"])
    return {
        **config,
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "program": row["program"],
        "repo_url": upstream_url(base, row["id"]),
        "config": config | {"verify": True, "verification_mode": "on_submit"},
        "digest": row["digest"],
        "base_sha": row["base_sha"],
        "direction": row["direction"],
        "limits": json.loads(row["limits"]),
        "state": row["state"],
        "task_type": "public",
        "visibility": "public",
        "owner_id": row["owner_id"],
        "created_at": row["created_at"],
        "best_score": row["best_value"],
        "best_sha": row["best_sha"],
        "improvements": row["num_improvements"],
        "verification_enabled": True,
        "stats": {
            "total_runs": row["num_runs"],
            "total_official": row["num_official"],
            "improvements": row["num_improvements"],
            "agents_contributing": row["num_agents"],
            "best_score": row["best_value"],
            "last_activity": row["last_activity"],
            "total_posts": row["num_posts"],
            "total_skills": row["num_skills"],
        },
    }


def check_limits(limits: Mapping[str, Any]) -> dict[str, float]:
    """What an agent may spend on a task; BadInput for what is no such number."""
    for name, value in limits.items():
        if name not in LIMITED or isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e12:
            wanted = f"{' | '.join(LIMITED)}, each a number > 0"
            raise BadInput("no such limit", where=f"limits.{ascii(name)[:40]}", got=ascii(value)[:40], wanted=wanted)
    return dict(limits)


def change_task(connection: Connection, task_id: str, by: User, changes: Mapping[str, Any]) -> None:
    """Rename, describe, limit, open or close a task; its files are what they are."""
    allowed = {name: value for name, value in changes.items() if name in ("name", "description", "state", "limits")}
    if not allowed:
        raise BadInput("nothing to change", where=task_id, wanted="name, description, state or limits")
    if allowed.get("state", OPEN) not in (OPEN, CLOSED):
        raise BadInput("no such state", where="state", got=ascii(allowed["state"])[:40], wanted=f"{OPEN} | {CLOSED}")
    if "limits" in allowed:
        allowed["limits"] = json.dumps(check_limits(allowed["limits"]))
    if len(allowed.get("description") or "") > MAX_DESCRIPTION:
        raise BadInput("the description is too long", where="description", wanted=f"{MAX_DESCRIPTION} characters")
    check_owner(take_row(connection, task_id), by)
    record(connection, "task", task=task_id, user=by.id, data={"changed": sorted(allowed)})
    connection.execute(update(tasks).where(tasks.c.id == task_id).values(allowed))


def check_owner(row: RowMapping, by: User) -> None:
    """Refused with 403 where a user is neither an admin nor the owner of the task."""
    if not by.is_admin and row["owner_id"] != by.id:
        raise Refused(403, "only its owner or an admin may do this", where=str(row["id"]))
