"""The queue of measurements: leased for a while, renewed by heartbeats, tried again after silence, settled once."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, and_, exists, func, insert, or_, select, update

from evolvent.hive.hub.refusals import Refused
from evolvent.hive.hub.schema import agents, jobs, runs, tasks
from evolvent.hive.hub.times import later, now
from evolvent.hive.task import Direction

BACKOFF_S = (2, 10, 60, 300)


@dataclass(frozen=True, slots=True)
class Job:
    """A measurement that somebody works on."""

    id: int
    task_id: str
    sha: str
    kind: str
    attempt: int
    lease: str
    payload: dict[str, Any]


def enqueue(
    connection: Connection, task_id: str, sha: str, kind: str, payload: Mapping[str, Any] | None = None
) -> None:
    """Ask for a measurement of a run; once of each kind, whoever asks."""
    at = now()
    row = {"task_id": task_id, "sha": sha, "kind": kind, "payload": json.dumps(dict(payload or {}))}
    again = update(jobs).where(jobs.c.task_id == task_id, jobs.c.sha == sha, jobs.c.kind == kind)
    fresh = {"state": "waiting", "attempt": 0, "not_before": at, "payload": row["payload"], "finished_at": None}
    if not connection.execute(again.values(fresh)).rowcount:
        connection.execute(insert(jobs).values(**row, state="waiting", not_before=at, created_at=at))


def is_any_free(connection: Connection) -> bool:
    """Whether there may be something to lease; to look is cheaper than to try."""
    return connection.execute(select(jobs.c.id).where(_is_free(now())).limit(1)).first() is not None


def take_lease(connection: Connection, worker: str, lease_s: float) -> Job | None:
    """A job that waits or whose worker fell silent; of comparisons one a task at a time.

    Agents take turns: it is the oldest job of the one that was served longest ago, so that nobody who submits a
    hundred runs at once keeps the others waiting.
    """
    at = now()
    free = _is_free(at)
    other = jobs.alias()
    is_compared = exists().where(
        other.c.task_id == jobs.c.task_id,
        other.c.kind == "compare",
        other.c.state == "leased",
        other.c.lease_until > at,
        other.c.id != jobs.c.id,
    )
    asked = _with_agents().where(free, or_(jobs.c.kind != "compare", ~is_compared))
    asked = asked.order_by(agents.c.served_at, jobs.c.id).limit(1)
    row = connection.execute(asked).mappings().first()
    if row is None:
        return None
    if row["kind"] == "compare":  # nothing is locked yet: the best challenger must be free for whoever comes first
        row = _choose_challenger(connection, row["task_id"], (free, ~is_compared))
    else:
        others = asked.where(jobs.c.kind != "compare").with_for_update(of=jobs, skip_locked=True)
        row = connection.execute(others).mappings().first()
    if row is None:
        return None
    ticket = secrets.token_urlsafe(24)
    taken = {"state": "leased", "lease": ticket, "lease_until": later(lease_s), "worker": worker}
    connection.execute(update(jobs).where(jobs.c.id == row["id"]).values(**taken, attempt=row["attempt"] + 1))
    if row["kind"] == "measure":
        run = update(runs).where(runs.c.task_id == row["task_id"], runs.c.sha == row["sha"])
        connection.execute(run.values(status="running"))
        seen = update(tasks).where(tasks.c.id == row["task_id"])
        connection.execute(seen.values(version=tasks.c.version + 1))
    connection.execute(update(agents).where(agents.c.id == row["agent_id"]).values(served_at=at))
    payload = json.loads(row["payload"])
    return Job(row["id"], row["task_id"], row["sha"], row["kind"], row["attempt"] + 1, ticket, payload)


def _choose_challenger(connection: Connection, task_id: str, wanted: Sequence[Any]) -> RowMapping | None:
    """Of the challengers that wait, the one that measured best: where it is kept, most of the others are settled."""
    locked = select(tasks.c.direction).where(tasks.c.id == task_id).with_for_update()
    is_less = Direction(connection.execute(locked).scalar_one()) is Direction.MINIMIZE
    asked = _with_agents().where(jobs.c.task_id == task_id, jobs.c.kind == "compare", *wanted)
    asked = asked.order_by(runs.c.value if is_less else runs.c.value.desc(), jobs.c.id).limit(1)
    return connection.execute(asked.with_for_update(of=jobs, skip_locked=True)).mappings().first()


def _with_agents() -> Select[Any]:
    """Jobs, each with the agent whose run it measures."""
    run = and_(runs.c.task_id == jobs.c.task_id, runs.c.sha == jobs.c.sha)
    return select(jobs, runs.c.agent_id).join(runs, run).join(agents, agents.c.id == runs.c.agent_id)


def beat(connection: Connection, job_id: int, ticket: str, lease_s: float) -> None:
    """Keep a lease alive; Refused with 409 where somebody else has the job, or it is done."""
    kept = update(jobs).where(*_mine(job_id, ticket)).values(lease_until=later(lease_s))
    if not connection.execute(kept).rowcount:
        raise _lost(job_id)


def take_back(connection: Connection, job_id: int, ticket: str) -> Job:
    """The job of a lease, locked, for its result to be settled; Refused where the lease is lost."""
    row = connection.execute(select(jobs).where(*_mine(job_id, ticket)).with_for_update()).mappings().first()
    if row is None:
        raise _lost(job_id)
    payload = json.loads(row["payload"])
    return Job(row["id"], row["task_id"], row["sha"], row["kind"], row["attempt"], ticket, payload)


def close(connection: Connection, job: Job) -> None:
    """Mark a job as done."""
    connection.execute(update(jobs).where(jobs.c.id == job.id).values(state="done", lease=None, finished_at=now()))


def keep_payload(connection: Connection, job: Job) -> None:
    """Write down what was drawn for a job, so that a second attempt finds the same."""
    connection.execute(update(jobs).where(jobs.c.id == job.id).values(payload=json.dumps(job.payload)))


def put_back(connection: Connection, job: Job, error: str, *, is_retryable: bool, max_attempts: int) -> bool:
    """Let a failed job wait for another attempt, longer each time; False where there is none left."""
    goes_on = is_retryable and job.attempt < max_attempts
    wait_s = BACKOFF_S[min(job.attempt - 1, len(BACKOFF_S) - 1)]
    state = {"state": "waiting" if goes_on else "dead", "not_before": later(wait_s), "lease": None}
    state |= {"error": error[:4000], "finished_at": None if goes_on else now()}
    connection.execute(update(jobs).where(jobs.c.id == job.id).values(state))
    return goes_on


def revive(connection: Connection, task_id: str, sha: str) -> list[str]:
    """Ask again for what was given up of a run; the kinds of it."""
    dead = (jobs.c.task_id == task_id, jobs.c.sha == sha, jobs.c.state == "dead")
    fresh = {"state": "waiting", "attempt": 0, "not_before": now(), "error": "", "finished_at": None}
    return list(connection.execute(update(jobs).where(*dead).values(fresh).returning(jobs.c.kind)).scalars())


def is_compared_soon(connection: Connection, task_id: str, sha: str) -> bool:
    """Whether a comparison of a run waits, or is being made."""
    asked = select(jobs.c.id).where(jobs.c.task_id == task_id, jobs.c.sha == sha, jobs.c.kind == "compare")
    return connection.execute(asked.where(jobs.c.state.in_(("waiting", "leased")))).first() is not None


def count_jobs(connection: Connection) -> dict[str, int]:
    """How many jobs are in each state."""
    found = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state))
    return {state: int(num) for state, num in found}


def _is_free(at: str) -> Any:
    return or_(
        and_(jobs.c.state == "waiting", jobs.c.not_before <= at),
        and_(jobs.c.state == "leased", jobs.c.lease_until <= at),
    )


def _mine(job_id: int, ticket: str) -> tuple[Any, ...]:
    return jobs.c.id == job_id, jobs.c.lease == ticket, jobs.c.state == "leased"


def _lost(job_id: int) -> Refused:
    return Refused(409, "this lease is over", where=f"job {job_id}", got="a lease of before", cure="drop the result")
