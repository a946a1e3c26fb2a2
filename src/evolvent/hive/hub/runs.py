"""Runs of a task: submitted by agents, found, told, listed, called off; each is one commit of one task."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, update

from evolvent.errors import BadInput
from evolvent.hive.board import read_claim
from evolvent.hive.hub import budgets
from evolvent.hive.hub.events import record
from evolvent.hive.hub.feed import post
from evolvent.hive.hub.hub import Hub
from evolvent.hive.hub.jobs import enqueue, revive
from evolvent.hive.hub.places import fork_url
from evolvent.hive.hub.refusals import Refused, missing
from evolvent.hive.hub.schema import agents, commits, runs, tasks
from evolvent.hive.hub.tasks import lock_open
from evolvent.hive.hub.times import now
from evolvent.hive.paths import check_commit

HEX = frozenset("0123456789abcdef")
MIN_PREFIX = 7  # digits of a commit that are enough to name a run
LISTED = tuple(column for column in runs.c if column.name not in ("message", "log"))


@dataclass(frozen=True, slots=True)
class Submission:
    """What an agent says of a commit of its own; `score` is its claim, None for a crash."""

    sha: str
    branch: str = ""
    tldr: str = ""
    message: str = ""
    parent: str | None = None
    score: object = None
    tokens: int = 0
    money: float = 0.0


def submit(hub: Hub, connection: Connection, task_id: str, agent: str, said: Submission) -> tuple[RowMapping, bool]:
    """The run of a commit, and whether it is new: the same agent may say the same twice, and nothing is doubled."""
    claim = read_claim(said.score)
    task = lock_open(connection, task_id)
    sha = check_commit(said.sha)
    old = connection.execute(select(runs).where(runs.c.task_id == task_id, runs.c.sha == sha)).mappings().first()
    if old is not None:
        if old["agent_id"] == agent:
            return old, False
        got, cure = f"run {old['number']} of {old['agent_id']}", "build on it with a commit of your own"
        raise Refused(409, "this commit is a run already", where=task_id, got=got, cure=cure)
    _check_pushed(hub, connection, task_id, agent, sha)
    parent = _find_parent(connection, task_id, sha, said.parent)
    is_first = budgets.spend(connection, task, agent, tokens=said.tokens, money=said.money)
    number, at = task["num_runs"] + 1, now()
    row = {"task_id": task_id, "sha": sha, "number": number, "agent_id": agent, "parent_sha": parent, "claim": claim}
    row |= {"branch": said.branch, "tldr": said.tldr, "message": said.message, "tokens": said.tokens}
    row |= {"money": said.money, "task_digest": task["digest"], "status": "pending", "created_at": at}
    row["post_id"] = post(connection, task_id, agent, said.message or said.tldr, run_sha=sha)
    kept = connection.execute(insert(runs).values(row).returning(runs)).mappings().one()
    counted = {"num_runs": number, "num_agents": task["num_agents"] + is_first, "num_posts": tasks.c.num_posts + 1}
    connection.execute(update(tasks).where(tasks.c.id == task_id).values(counted))
    connection.execute(update(agents).where(agents.c.id == agent).values(num_runs=agents.c.num_runs + 1))
    enqueue(connection, task_id, sha, "measure")
    record(connection, "run", task=task_id, agent=agent, data={"sha": sha, "number": number, "tldr": said.tldr})
    return kept, True


def _check_pushed(hub: Hub, connection: Connection, task_id: str, agent: str, sha: str) -> None:
    """Only what this agent pushed to its own fork can be its run."""
    asked = select(commits.c.agent_id).where(commits.c.task_id == task_id, commits.c.sha == sha)
    first = connection.execute(asked.order_by(commits.c.pushed_at).limit(1)).scalar()
    if first == agent:
        return
    if first is not None:  # whoever reads another's fork must not be the first to submit what is in it
        raise Refused(
            409, "another agent pushed this commit first", where=task_id, got=first, cure="commit on top of it"
        )
    if not hub.repositories.knows(task_id, agent, sha):
        raise BadInput("your fork has no such commit", where=f"{task_id}: sha", got=sha, cure="push it first")
    # the hub was stopped before it noted the push
    connection.execute(insert(commits).values(task_id=task_id, agent_id=agent, sha=sha, pushed_at=now()))


def _find_parent(connection: Connection, task_id: str, sha: str, parent: str | None) -> str | None:
    if parent is None or parent in ("", "none"):
        return None
    try:
        found = find_run(connection, task_id, parent, (runs.c.sha,))["sha"]
    except Refused as error:
        raise BadInput("the parent is no run of this task", where=task_id, got=ascii(parent)[:80]) from error
    if found == sha:
        raise BadInput("a run cannot build on itself", where=task_id, got=sha)
    return str(found)


def find_run(connection: Connection, task_id: str, prefix: str, columns: tuple[Any, ...] = (runs,)) -> RowMapping:
    """The run whose commit begins like this; 404 where there is none, BadInput where there are several."""
    if len(prefix) > 40 or len(prefix) < MIN_PREFIX or set(prefix) - HEX:
        raise missing("run", prefix)
    asked = select(*columns).where(runs.c.task_id == task_id)
    asked = asked.where(runs.c.sha >= prefix, runs.c.sha <= prefix + "f" * (40 - len(prefix)))
    found = connection.execute(asked.limit(2)).mappings().all()
    if not found:
        raise missing("run", prefix)
    if len(found) > 1:
        raise BadInput("several runs begin like this", where=task_id, got=prefix, cure="give more digits")
    return found[0]


def tell_run(row: Mapping[Any, Any], base: str) -> dict[str, Any]:
    """A run as the wire has it; only what the hub measured is a `verified_score`."""
    is_official = row["value"] is not None and row["is_valid"]
    comparison = json.loads(row["comparison"]) if row["comparison"] else None
    return {
        "id": row["sha"],
        "number": row["number"],
        "task_id": row["task_id"],
        "agent_id": row["agent_id"],
        "branch": row["branch"],
        "parent_id": row["parent_sha"],
        "tldr": row["tldr"],
        "score": row["claim"],
        "verified": is_official,
        "verified_score": row["value"],
        "verification_status": row["status"],
        "valid": row["is_valid"],
        "why": row["why"],
        "measured": tell_interval(row["value"], row["low"], row["high"], len(json.loads(row["numbers"]))),
        "is_kept": row["is_kept"],
        "comparison": comparison,
        "holdout": json.loads(row["holdout"]) if row["holdout"] else None,
        "seconds": row["seconds"],
        "tokens": row["tokens"],
        "money": row["money"],
        "task_digest": row["task_digest"],
        "tree_digest": row["tree_digest"],
        "tier": row["tier"],
        "task_repo_sha": row["task_digest"][:40],
        "created_at": row["created_at"],
        "verified_at": row["verified_at"],
        "post_id": row["post_id"],
        "fork_url": fork_url(base, row["task_id"], row["agent_id"]),
        "verification_mode": "on_submit",
    }


def tell_interval(value: float | None, low: float | None, high: float | None, num: int) -> dict[str, Any] | None:
    """A number and its 95 % interval; ends that nobody knows are None."""
    if value is None:
        return None
    return {"value": value, "low": low, "high": high, "num": num}


def call_off(hub: Hub, connection: Connection, task_id: str, sha: str, is_valid: bool, by: int | None) -> str:
    """Take a run off the board, or put it back; best and improvements are counted again. Its full name.

    Whoever puts a run back asks again for what was given up of it.
    """
    from evolvent.hive.hub.scores import recount  # scores settle what is submitted here

    found = str(find_run(connection, task_id, sha, (runs.c.sha,))["sha"])
    record(connection, "valid", task=task_id, user=by, data={"sha": found, "valid": is_valid})
    key = (runs.c.task_id == task_id, runs.c.sha == found)
    connection.execute(update(runs).where(*key).values(is_valid=is_valid))
    again = revive(connection, task_id, found) if is_valid else []
    if "measure" in again:
        connection.execute(update(runs).where(*key).values(status="pending", why="", verified_at=None))
    if "compare" in again:
        connection.execute(update(runs).where(*key).values(is_kept=None, comparison=None))
    recount(hub, connection, task_id)
    return found
