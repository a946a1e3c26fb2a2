"""The lists of a task's runs: the leaderboard, who contributed, what improved on what, and the graph of lineages."""

from __future__ import annotations

import json
import math
from typing import Any

from sqlalchemy import Connection, Select, and_, func, select

from evolvent.errors import BadInput
from evolvent.hive.hub.answers import Answer
from evolvent.hive.hub.asking import render
from evolvent.hive.hub.hub import Hub
from evolvent.hive.hub.runs import LISTED, tell_interval, tell_run
from evolvent.hive.hub.schema import runs, tasks
from evolvent.hive.hub.tasks import find_range
from evolvent.hive.shrink import Moments, cut, shrink
from evolvent.hive.task import Direction
from evolvent.records import Estimate

VIEWS = ("best_runs", "all", "contributors", "deltas", "improvers")
SORTS = ("score", "recent")
NUM_TOP = 20


def list_runs(
    connection: Connection,
    task_id: str,
    base: str,
    *,
    sort: str = "score",
    agent: str | None = None,
    view: str = "best_runs",
    most: int = 21,
    offset: int = 0,
) -> list[dict[str, Any]]:
    """Runs as the wire has them: by official number only those that have one and count, by time all that count.

    `sort` is score or recent, with :asc or :desc behind it; the best comes first unless :asc is said. The view `all`
    also has what was called off.
    """
    key, _, order = sort.partition(":")
    if key not in SORTS or order not in ("", "asc", "desc"):
        raise BadInput("no such order", where="sort", got=ascii(sort)[:40], wanted="score | recent, then :asc or :desc")
    asked: Select[Any] = select(*LISTED).where(runs.c.task_id == task_id)
    if view != "all":
        asked = asked.where(runs.c.is_valid)
    if agent is not None:
        asked = asked.where(runs.c.agent_id == agent)
    if key == "score":
        asked = asked.where(runs.c.value.is_not(None))
        is_up = (_direction(connection, task_id) is Direction.MINIMIZE) != (order == "asc")
        asked = asked.order_by(runs.c.value if is_up else runs.c.value.desc(), runs.c.number)
    else:
        asked = asked.order_by(runs.c.number if order == "asc" else runs.c.number.desc())
    return [tell_run(row, base) for row in connection.execute(asked.limit(most).offset(offset)).mappings()]


def leaderboard(connection: Connection, task_id: str, base: str, most: int = 20) -> list[dict[str, Any]]:
    """The official runs, the best first: as measured, the likely value given all the others, and the hold-out."""
    columns = (runs.c.sha, runs.c.value, runs.c.num_cases, runs.c.squares, runs.c.number)
    found = connection.execute(
        select(*columns).where(runs.c.task_id == task_id, runs.c.value.is_not(None), runs.c.is_valid)
    ).all()
    sign = _direction(connection, task_id).sign
    likely = shrink([Moments(row.value, max(row.num_cases, 1), row.squares) for row in found])
    places = sorted(range(len(found)), key=lambda i: (-sign * found[i].value, found[i].number))[:most]
    wanted, ends = [found[i].sha for i in places], find_range(connection, task_id)
    asked = select(*LISTED).where(runs.c.task_id == task_id, runs.c.sha.in_(wanted))
    rows = {row["sha"]: row for row in connection.execute(asked).mappings()}
    return [
        tell_run(rows[found[i].sha], base) | {"rank": rank, "likely": _tell(cut(likely[i], ends))}
        for rank, i in enumerate(places, 1)
    ]


def top(hub: Hub, connection: Connection, task_id: str, base: str, board_version: int) -> list[dict[str, Any]]:
    """The first rows of the leaderboard; found once for as long as no official number changes."""

    def make() -> Answer:
        return Answer(render({"rows": leaderboard(connection, task_id, base, NUM_TOP)}))

    rows: list[dict[str, Any]] = json.loads(hub.answers.find(("top", task_id, base), board_version, make))["rows"]
    return rows


def contributors(connection: Connection, task_id: str, most: int = 21, offset: int = 0) -> list[dict[str, Any]]:
    """Agents by how many improvements were kept of theirs; the baseline is nobody's."""
    best = func.min(runs.c.value) if _direction(connection, task_id) is Direction.MINIMIZE else func.max(runs.c.value)
    counts = and_(runs.c.is_valid, runs.c.value.is_not(None))
    kept = func.count().filter(runs.c.is_kept, runs.c.is_valid)
    asked = (
        select(
            runs.c.agent_id,
            func.count().label("total_runs"),
            func.count().filter(counts).label("total_official"),
            best.filter(counts).label("best_score"),
            kept.label("improvements"),
            func.sum(runs.c.seconds).label("seconds"),
        )
        .where(runs.c.task_id == task_id, runs.c.number > 1)
        .group_by(runs.c.agent_id)
        .order_by(kept.desc(), func.count().desc(), runs.c.agent_id)
    )
    return [
        dict(row) | {"improvements_to_best": row["improvements"]}
        for row in connection.execute(asked.limit(most).offset(offset)).mappings()
    ]


def deltas(connection: Connection, task_id: str, most: int = 21, offset: int = 0) -> list[dict[str, Any]]:
    """Runs by how much better they measured than the run they build on."""
    sign = _direction(connection, task_id).sign
    parent = runs.alias()
    delta = runs.c.value - parent.c.value
    joined = runs.join(parent, and_(parent.c.task_id == runs.c.task_id, parent.c.sha == runs.c.parent_sha))
    asked = (
        select(
            runs.c.sha.label("run_id"),
            runs.c.agent_id,
            delta.label("delta"),
            parent.c.value.label("from_score"),
            runs.c.value.label("to_score"),
            runs.c.tldr,
        )
        .select_from(joined)
        .where(runs.c.task_id == task_id, runs.c.is_valid, parent.c.is_valid, delta.is_not(None))
        .order_by((sign * delta).desc(), runs.c.number)
    )
    return [dict(row) for row in connection.execute(asked.limit(most).offset(offset)).mappings()]


def graph(connection: Connection, task_id: str, max_nodes: int = 200) -> dict[str, Any]:
    """The newest runs as nodes, each with the run it builds on."""
    columns = (*(runs.c[name] for name in ("sha", "number", "agent_id", "claim", "value", "low", "high", "status")),)
    columns += (runs.c.parent_sha, runs.c.tldr, runs.c.created_at, runs.c.is_valid, runs.c.is_kept)
    rows = connection.execute(
        select(*columns).where(runs.c.task_id == task_id).order_by(runs.c.number.desc()).limit(max_nodes)
    ).mappings()
    total = int(connection.execute(select(tasks.c.num_runs).where(tasks.c.id == task_id)).scalar_one())
    nodes = [
        {
            "sha": row["sha"],
            "number": row["number"],
            "agent_id": row["agent_id"],
            "score": row["claim"],
            "verified": row["value"] is not None and row["is_valid"],
            "verified_score": row["value"],
            "low": row["low"],
            "high": row["high"],
            "verification_status": row["status"],
            "parent": row["parent_sha"],
            "is_seed": row["parent_sha"] is None,
            "is_kept": row["is_kept"],
            "tldr": row["tldr"],
            "created_at": row["created_at"],
            "valid": row["is_valid"],
        }
        for row in rows
    ]
    return {"nodes": nodes, "total_nodes": total, "truncated": total > len(nodes)}


def progress(connection: Connection, task_id: str) -> list[dict[str, Any]]:
    """Every official run in order of submission, in few words: what a chart of the best over time needs."""
    columns = (runs.c.number, runs.c.sha, runs.c.agent_id, runs.c.value, runs.c.low, runs.c.high, runs.c.is_kept)
    asked = select(*columns, runs.c.verified_at, runs.c.kept_at)
    asked = asked.where(runs.c.task_id == task_id, runs.c.value.is_not(None), runs.c.is_valid)
    return [dict(row) for row in connection.execute(asked.order_by(runs.c.number)).mappings()]


def unmeasured(connection: Connection, task_id: str, base: str, most: int = 5) -> list[dict[str, Any]]:
    """Runs with a claim and no official number yet, the newest first: shown beside the board, never ranked."""
    asked = select(*LISTED).where(runs.c.task_id == task_id, runs.c.value.is_(None), runs.c.is_valid)
    asked = asked.where(runs.c.claim.is_not(None)).order_by(runs.c.number.desc()).limit(most)
    return [tell_run(row, base) for row in connection.execute(asked).mappings()]


def _tell(worth: Estimate) -> dict[str, Any] | None:
    ends = [end if math.isfinite(end) else None for end in (worth.low, worth.high)]
    return tell_interval(worth.value, ends[0], ends[1], worth.num)


def _direction(connection: Connection, task_id: str) -> Direction:
    return Direction(connection.execute(select(tasks.c.direction).where(tasks.c.id == task_id)).scalar_one())
