"""Work orders: what a worker needs for one measurement, and nothing else; commits are read on the hub."""

from __future__ import annotations

import base64
from typing import Any

from sqlalchemy import Connection, RowMapping, select, update

from evolvent.errors import EvolventError
from evolvent.hive.commits import Taken
from evolvent.hive.hub.hub import Hub
from evolvent.hive.hub.identity import HOUSE
from evolvent.hive.hub.jobs import Job, close, keep_payload, take_lease
from evolvent.hive.hub.repositories import Spot, name_base, name_fork
from evolvent.hive.hub.schema import runs, tasks
from evolvent.hive.hub.scores import give_up, settle
from evolvent.hive.noise import fresh_seeds
from evolvent.hive.task import Direction, HiveTask
from evolvent.hive.trusted import HOLDOUT, SEALED


def next_order(hub: Hub, connection: Connection, worker: str) -> dict[str, Any] | None:
    """The next measurement for this worker, or None where nothing waits; what needs no worker is settled on the way."""
    while (job := take_lease(connection, worker, hub.settings.lease_s)) is not None:
        if job.attempt > hub.settings.max_attempts:
            give_up(hub, connection, job, "its workers fell silent", is_retryable=False)
            continue
        try:
            with connection.begin_nested():
                order = _order(hub, connection, job)
        except EvolventError as error:  # no run may keep the others waiting
            give_up(hub, connection, job, f"its commit could not be read: {error.what}", is_retryable=True)
            continue
        if order:
            return order
    return None


def _order(hub: Hub, connection: Connection, job: Job) -> dict[str, Any] | None:
    run = _find(connection, job.task_id, job.sha)
    task = hub.task(run["task_digest"])
    taken = _take(hub, task, run)
    if taken.trouble:
        report = {"outcome": "invalid", "why": taken.trouble, "tree_digest": ""}
        if job.kind == "compare":
            report = {"outcome": "invalid", "why": "its commit cannot be read any more"}
        settle(hub, connection, job, [report] * (2 if job.kind == "compare" else 1))
        return None
    order: dict[str, Any] = {
        "id": job.id,
        "lease": job.lease,
        "lease_s": hub.settings.lease_s,
        "kind": job.kind,
        "attempt": job.attempt,
        "task": job.task_id,
        "digest": run["task_digest"],
        "commit": job.sha,
        "files": _pack(taken),
        "incumbent": None,
        "seeds": None,
        "bundle": HOLDOUT if job.kind == "holdout" else SEALED,
    }
    return _against(hub, connection, job, (run, task, order)) if job.kind == "compare" else order


def _against(
    hub: Hub, connection: Connection, job: Job, what: tuple[RowMapping, HiveTask, dict[str, Any]]
) -> dict[str, Any] | None:
    """The order of a comparison, with today's incumbent and fresh seeds; None where nothing is to compare."""
    run, task, order = what
    row = connection.execute(select(tasks).where(tasks.c.id == job.task_id)).mappings().one()
    best, key = row["best_sha"], (runs.c.task_id == job.task_id, runs.c.sha == job.sha)
    sign = Direction(row["direction"]).sign
    if best is None or best == job.sha or not run["is_valid"] or sign * (run["value"] - row["best_value"]) <= 0:
        close(connection, job)
        if best != job.sha:  # were this best called off, it could still challenge the one before
            connection.execute(update(runs).where(*key).values(is_kept=False, compared_with=None))
        return None
    if job.payload.get("against") != best:
        number = row["num_compared"] + 1
        connection.execute(update(tasks).where(tasks.c.id == job.task_id).values(num_compared=number))
        job.payload.update(number=number, against=best)
        keep_payload(connection, job)
        connection.execute(update(runs).where(*key).values(compared_with=best))
    number = job.payload["number"]
    rule = hub.settings.rule
    seeds = fresh_seeds(hub.secret, task.digest, number, rule.num_seeds(number))
    old = _take(hub, task, _find(connection, job.task_id, best))
    return order | {"seeds": list(seeds), "incumbent": {"commit": best, "files": _pack(old)}}


def _find(connection: Connection, task_id: str, sha: str) -> RowMapping:
    return connection.execute(select(runs).where(runs.c.task_id == task_id, runs.c.sha == sha)).mappings().one()


def _take(hub: Hub, task: HiveTask, run: RowMapping) -> Taken:
    agent = run["agent_id"]
    name = name_base(task.name) if agent == HOUSE else name_fork(task.name, agent)
    hub.repositories.pin(task.name, None if agent == HOUSE else agent, run["sha"])
    return hub.repositories.take(Spot(name, run["sha"]), task)


def _pack(taken: Taken) -> dict[str, str]:
    return {path: base64.b64encode(data).decode("ascii") for path, data in taken.files.items()}
