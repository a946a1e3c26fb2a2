"""Turns what workers measured into official numbers: the value of a run, whether it is kept, and the task's best.

A run that measured better than the incumbent challenges it: both are measured anew, side by side, on seeds that nobody
has seen, and the keep rule decides. Only what it kept can be the best of a task; the baseline is the first incumbent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, RowMapping, exists, or_, select, update

from evolvent.errors import BadInput
from evolvent.hive.board import BoardRun, count, due_for_holdout
from evolvent.hive.hub.budgets import add_seconds
from evolvent.hive.hub.events import record
from evolvent.hive.hub.hub import Hub
from evolvent.hive.hub.jobs import Job, close, enqueue, keep_payload, put_back
from evolvent.hive.hub.reports import Report, read_report
from evolvent.hive.hub.schema import claims, jobs, runs, tasks
from evolvent.hive.hub.tasks import find_range
from evolvent.hive.hub.times import now
from evolvent.hive.shrink import cut, interval, moments
from evolvent.hive.task import Direction

MAX_LOG = 16_000


def settle(hub: Hub, connection: Connection, job: Job, reports: Sequence[object]) -> None:
    """Write the result of a job into the record, and close the job: both or neither."""
    read = [read_report(one) for one in reports]
    wanted = 2 if job.kind == "compare" else 1
    if len(read) != wanted:
        raise BadInput("a result has a report for each artifact", where=f"job {job.id}", got=len(read), wanted=wanted)
    close(connection, job)
    settlers = {"measure": _settle_measure, "compare": _settle_compare, "holdout": _settle_holdout}
    settlers[job.kind](hub, connection, job, read)


def give_up(hub: Hub, connection: Connection, job: Job, error: str, *, is_retryable: bool) -> None:
    """Let a job wait for another attempt, or note that it could not be measured."""
    if put_back(connection, job, error, is_retryable=is_retryable, max_attempts=hub.settings.max_attempts):
        return
    record(connection, "gave up", task=job.task_id, data={"sha": job.sha, "kind": job.kind})
    if job.kind == "measure":
        words = f"the hub could not measure it: {error[:500]}"
        _change_run(connection, job, {"status": "error", "why": words, "verified_at": now()})
        recount(hub, connection, job.task_id)
    elif job.kind == "compare":
        found = {"number": job.payload.get("number"), "against": job.payload.get("against"), "num": 0}
        found |= {"why": f"the hub could not compare it: {error[:500]}", "is_kept": False}
        _change_run(connection, job, {"is_kept": False, "comparison": json.dumps(found)})


def recount(hub: Hub, connection: Connection, task_id: str) -> None:
    """Best, improvements and official runs from the runs alone; whoever measured better than the best challenges it."""
    counted = count_again(connection, task_id)
    row = connection.execute(select(tasks.c.board_version).where(tasks.c.id == task_id)).one()
    counted["board_version"] = row[0] + 1
    connection.execute(update(tasks).where(tasks.c.id == task_id).values(counted))
    _call_next(connection, task_id)


def send_to_holdout(hub: Hub, connection: Connection, task_id: str) -> list[str]:
    """Ask for the hold-out of the best runs that have not seen it, of `max_looks` over the life of a task.

    What was kept as the best is among them. The baseline sees it too: nobody chose it, so it costs no look. Of runs
    with the same tree the first stands for all.
    """
    columns = (runs.c.sha, runs.c.number, runs.c.value, runs.c.is_valid, runs.c.holdout)
    asked = set(
        connection.execute(select(jobs.c.sha).where(jobs.c.task_id == task_id, jobs.c.kind == "holdout")).scalars()
    )
    measured = select(*columns, runs.c.tree_digest).where(runs.c.task_id == task_id, runs.c.value.is_not(None))
    rows = connection.execute(measured.order_by(runs.c.number)).all()
    first = {row.tree_digest or row.sha: row.sha for row in reversed(rows) if row.is_valid}
    found = [row for row in rows if row.sha in asked or first.get(row.tree_digest or row.sha, row.sha) == row.sha]
    board = [
        BoardRun(
            row.sha,
            row.number,
            row.value,
            is_valid=row.is_valid,
            is_looked_at=row.holdout is not None or row.sha in asked,
        )
        for row in found
        if row.number > 1
    ]
    due = [run.commit for run in due_for_holdout(board, _direction(connection, task_id), hub.settings.max_looks)]
    best = connection.execute(select(tasks.c.best_sha).where(tasks.c.id == task_id)).scalar_one()
    if due and best not in asked and best not in due and any(run.commit == best for run in board):
        due = [best, *due[:-1]]  # what stands is to be believed first, however others measured
    due += [row.sha for row in found if row.number == 1 and row.sha not in asked and row.sha not in due]
    record(connection, "hold-out asked", task=task_id, data={"num": len(due)})
    for sha in due:
        enqueue(connection, task_id, sha, "holdout")
    return due


def count_again(connection: Connection, task_id: str) -> dict[str, Any]:
    """The counters of official numbers of a task, from its runs."""
    direction = _direction(connection, task_id)
    columns = (runs.c.sha, runs.c.number, runs.c.value, runs.c.is_valid, runs.c.is_kept, runs.c.kept_at)
    found = connection.execute(select(*columns).where(runs.c.task_id == task_id, runs.c.value.is_not(None))).all()
    kept = sorted((row for row in found if row.is_kept), key=lambda row: row.kept_at or "")
    order = {row.sha: place for place, row in enumerate(kept)}
    board = [
        BoardRun(row.sha, order.get(row.sha, len(found) + row.number), row.value, row.is_valid, bool(row.is_kept))
        for row in found
    ]
    counters = count(board, direction)
    return {
        "num_official": counters.num_official,
        "num_improvements": counters.num_improvements,
        "best_sha": counters.best,
        "best_value": counters.best_value,
    }


def _settle_measure(hub: Hub, connection: Connection, job: Job, reports: list[Report]) -> None:
    [report] = reports
    run = _run(connection, job)
    record(
        connection,
        "scored" if report.is_scored else "invalid",
        task=job.task_id,
        agent=run["agent_id"],
        data={"sha": job.sha, "number": run["number"], "value": report.value, "why": report.why[:300]},
    )
    add_seconds(connection, job.task_id, run["agent_id"], report.seconds)
    _end_claims(connection, run)
    _change_run(connection, job, _measured(report, find_range(connection, job.task_id)))
    is_first = report.is_scored and run["number"] == 1
    if is_first:
        _change_run(connection, job, {"is_kept": True, "kept_at": now()})
    recount(hub, connection, job.task_id)


def _end_claims(connection: Connection, run: RowMapping) -> None:
    """What an agent was trying before it submitted is known now."""
    made = (claims.c.task_id == run["task_id"], claims.c.agent_id == run["agent_id"])
    ended = update(claims).where(*made, claims.c.created_at <= run["created_at"], claims.c.expires_at > now())
    connection.execute(ended.values(expires_at=now()))


def _measured(report: Report, ends: tuple[float, float] | None) -> dict[str, Any]:
    changed: dict[str, Any] = {
        "status": "success" if report.is_scored else "failed",
        "why": report.why[:2000],
        "log": report.log[-MAX_LOG:],
        "tree_digest": report.tree_digest[:64],
        "tier": report.tier[:20],
        "seconds": report.seconds,
        "verified_at": now(),
    }
    if report.is_scored:
        shown = cut(interval(report.numbers), ends)
        told = moments(report.cases)
        changed |= {
            "value": report.value,
            "low": shown.low if math.isfinite(shown.low) else None,
            "high": shown.high if math.isfinite(shown.high) else None,
            "numbers": json.dumps(report.numbers),
            "num_cases": told.num,
            "squares": told.squares,
        }
    return changed


def _call_next(connection: Connection, task_id: str) -> None:
    """Let every run that measured better than the best challenge it, once: what lost stays as it is.

    Only where the incumbent it lost to was called off since may it try again. A tree that is the best already, or
    challenges it under another name, is not compared again: copies would raise the number of comparisons.
    """
    task = connection.execute(select(tasks).where(tasks.c.id == task_id)).mappings().one()
    is_less = Direction(task["direction"]) is Direction.MINIMIZE
    other = runs.alias()
    is_off = exists().where(other.c.task_id == task_id, other.c.sha == runs.c.compared_with, ~other.c.is_valid)
    asked = select(runs.c.sha).where(
        runs.c.task_id == task_id, runs.c.value.is_not(None), runs.c.is_valid, runs.c.is_kept.is_not(True)
    )
    if task["best_sha"] is None and _is_first_open(connection, task_id):
        return
    if task["best_sha"] is None:  # nothing stands: the best that was measured becomes the incumbent
        asked = asked.order_by(runs.c.value if is_less else runs.c.value.desc(), runs.c.number).limit(1)
        for sha in connection.execute(asked).scalars().all():
            _mark(connection, task_id, sha, is_kept=True, kept_at=now())
            connection.execute(update(tasks).where(tasks.c.id == task_id).values(count_again(connection, task_id)))
        return
    better = runs.c.value < task["best_value"] if is_less else runs.c.value > task["best_value"]
    is_twin = exists().where(
        other.c.task_id == task_id,
        other.c.is_valid,
        other.c.sha != runs.c.sha,
        other.c.tree_digest != "",
        other.c.tree_digest == runs.c.tree_digest,
        or_(other.c.sha == task["best_sha"], other.c.compared_with == task["best_sha"]),
    )
    asked = asked.where(better, ~is_twin, or_(runs.c.compared_with.is_(None), is_off)).order_by(runs.c.number)
    found = connection.execute(asked.add_columns(runs.c.tree_digest).limit(50)).all()
    for sha in {tree or sha: sha for sha, tree in reversed(found)}.values():
        enqueue(connection, task_id, sha, "compare")
        _mark(connection, task_id, sha, compared_with=task["best_sha"], is_kept=None)


def _is_first_open(connection: Connection, task_id: str) -> bool:
    """Whether the baseline is still to be measured: nobody stands before it."""
    asked = select(runs.c.status).where(runs.c.task_id == task_id, runs.c.number == 1, runs.c.is_valid)
    return connection.execute(asked).scalar() in ("pending", "running")


def _settle_compare(hub: Hub, connection: Connection, job: Job, reports: list[Report]) -> None:
    new, old = reports
    run, number = _run(connection, job), int(job.payload["number"])
    if connection.execute(select(tasks.c.best_sha).where(tasks.c.id == job.task_id)).scalar() != job.payload["against"]:
        _change_run(connection, job, {"compared_with": None})  # the incumbent was called off meanwhile
        return _call_next(connection, job.task_id)
    if new.is_scored and not old.is_scored and _may_fall(connection, job):
        return _doubt(hub, connection, job, old.why)
    found: dict[str, Any] = {"number": number, "against": job.payload["against"], "num": len(new.numbers)}
    if new.is_scored and old.is_scored:
        direction = _direction(connection, job.task_id)
        said = hub.settings.rule.decide(new.numbers, old.numbers, number=number, direction=direction)
        gain = [x if math.isfinite(x) else None for x in (said.gain.value, said.gain.low, said.gain.high)]
        found |= {"p": said.p, "level": said.level, "gain": gain, "why": said.why, "challenger": new.value}
        found |= {"incumbent": old.value, "is_kept": said.is_kept}
    else:
        words = f"the challenger is invalid: {new.why}" if not new.is_scored else f"the incumbent is invalid: {old.why}"
        found |= {"why": words[:500], "is_kept": False}
    is_kept = bool(found["is_kept"]) and run["is_valid"]
    data = {"sha": job.sha, "number": run["number"], "why": found["why"]}
    record(connection, "kept" if is_kept else "not kept", task=job.task_id, agent=run["agent_id"], data=data)
    changed = {"is_kept": is_kept, "comparison": json.dumps(found), "kept_at": now() if is_kept else None}
    _change_run(connection, job, changed)
    return recount(hub, connection, job.task_id)


def _may_fall(connection: Connection, job: Job) -> bool:
    """Whether an incumbent can lose its place by being invalid; the baseline is the hub's own, and cannot."""
    key = (runs.c.task_id == job.task_id, runs.c.sha == job.payload["against"])
    return bool(connection.execute(select(runs.c.number).where(*key)).scalar_one() > 1)


def _doubt(hub: Hub, connection: Connection, job: Job, why: str) -> None:
    """Compare once more where the incumbent was invalid on fresh seeds; the second time it is the best no longer.

    An artifact that breaks on purpose as soon as it stands would otherwise be the best for ever. The challenger gains
    nothing by it: it is compared with the one that was the best before.
    """
    if not job.payload.get("is_doubted"):
        job.payload["is_doubted"] = True
        keep_payload(connection, job)
        put_back(connection, job, f"the incumbent is invalid: {why}", is_retryable=True, max_attempts=job.attempt + 1)
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(attempt=0))  # the second look is a new one
        return None
    against, words = job.payload["against"], f"invalid on fresh seeds, twice: {why[:400]}"
    run = _run(connection, replace(job, sha=against))
    data = {"sha": against, "number": run["number"], "why": words}
    record(connection, "fell", task=job.task_id, agent=run["agent_id"], data=data)
    found = {"number": int(job.payload["number"]), "against": job.sha, "num": 0, "why": words, "is_kept": False}
    _mark(connection, job.task_id, against, is_kept=False, kept_at=None, comparison=json.dumps(found))
    _change_run(connection, job, {"compared_with": None})
    return recount(hub, connection, job.task_id)


def _settle_holdout(hub: Hub, connection: Connection, job: Job, reports: list[Report]) -> None:
    [report] = reports
    run = _run(connection, job)
    record(
        connection, "hold-out", task=job.task_id, agent=run["agent_id"], data={"sha": job.sha, "value": report.value}
    )
    shown = cut(interval(report.numbers), find_range(connection, job.task_id)) if report.is_scored else None
    kept: Mapping[str, Any] = {"why": report.why[:500]}
    if shown is not None:
        ends = [end if math.isfinite(end) else None for end in (shown.low, shown.high)]
        kept = {"value": shown.value, "low": ends[0], "high": ends[1], "num": shown.num, "numbers": report.numbers}
    _change_run(connection, job, {"holdout": json.dumps(kept)})
    recount(hub, connection, job.task_id)


def _mark(connection: Connection, task_id: str, sha: str, **values: Any) -> None:
    connection.execute(update(runs).where(runs.c.task_id == task_id, runs.c.sha == sha).values(values))


def _run(connection: Connection, job: Job) -> RowMapping:
    asked = select(runs).where(runs.c.task_id == job.task_id, runs.c.sha == job.sha)
    return connection.execute(asked).mappings().one()


def _change_run(connection: Connection, job: Job, values: Mapping[str, Any]) -> None:
    _mark(connection, job.task_id, job.sha, **values)


def _direction(connection: Connection, task_id: str) -> Direction:
    return Direction(connection.execute(select(tasks.c.direction).where(tasks.c.id == task_id)).scalar_one())
