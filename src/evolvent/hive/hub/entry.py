"""Enters a commit as a run in as few words with the database as there can be; what is unusual takes the long way.

One statement locks the task and looks at all that decides; the others write, and Postgres hears them as one. Their
texts are made once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import Connection, String, Table, bindparam, insert, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.engine import Dialect

from evolvent.hive.board import read_claim
from evolvent.hive.hub.budgets import KINDS
from evolvent.hive.hub.hub import Hub
from evolvent.hive.hub.runs import HEX, Submission, submit
from evolvent.hive.hub.schema import agents, commits, events, jobs, posts, runs, search_entries, spent, tasks
from evolvent.hive.hub.search import plain_words
from evolvent.hive.hub.tasks import OPEN
from evolvent.hive.hub.times import now

FRESH: dict[str, Any] = {column.name: None for column in runs.c} | {"numbers": "[]", "is_valid": True, "why": ""}
FRESH |= {"log": "", "num_cases": 0, "squares": 0.0, "seconds": 0.0}
ENTERED = ["task_id", "sha", "number", "agent_id", "parent_sha", "branch", "tldr", "message", "claim", "task_digest"]
ENTERED += ["status", "tokens", "money", "created_at"]
SEEN = ("state", "digest", "limits", "num_runs", "entered_by", "pushed_by", "parent", *KINDS)
ONE: Any = literal_column("1")
NONE: Any = literal_column("0")


def enter(
    hub: Hub, connection: Connection, task_id: str, agent: str, said: Submission
) -> tuple[Mapping[Any, Any], bool]:
    """As `submit`, with the same rows; what that would refuse, or knows already, is left to it."""
    claim, cursor = read_claim(said.score), _raw_cursor(connection)
    texts = _texts(connection.dialect.name)
    parent = None if said.parent in ("", "none") else said.parent
    asked = {"task": task_id, "agent": agent, "sha": said.sha, "parent": parent}
    cursor.execute(texts[0], {f"b_{name}": value for name, value in asked.items()})
    seen = dict(zip(SEEN, cursor.fetchone() or (), strict=False))
    if not seen or not _is_usual(seen, agent, said.sha, parent):
        return submit(hub, connection, task_id, agent, said)
    at, content = now(), said.message or said.tldr
    row = {"task_id": task_id, "sha": said.sha, "number": seen["num_runs"] + 1, "agent_id": agent, "claim": claim}
    row |= {"parent_sha": parent, "branch": said.branch, "tldr": said.tldr, "message": said.message}
    row |= {"task_digest": seen["digest"], "status": "pending", "tokens": said.tokens, "money": said.money}
    row["created_at"] = at
    told = {"sha": said.sha, "number": row["number"], "tldr": said.tldr}
    words = {"content": content, "text": plain_words(f" {content}"), "first": int(seen["evaluations"] is None)}
    words["data"] = json.dumps(told, ensure_ascii=False, allow_nan=False)
    values = {f"b_{name}": value for name, value in (row | words).items()}
    for text in texts[1:]:  # the first gives the number of the post
        cursor.execute(text, values)
        if "b_post_id" not in values:
            values["b_post_id"] = int(cursor.fetchone()[0])
    return FRESH | row | {"post_id": values["b_post_id"]}, True


def _is_usual(seen: Mapping[str, Any], agent: str, sha: str, parent: str | None) -> bool:
    """An open task, a commit that this agent was the first to push and nobody entered, a known parent, budget left."""
    limits = json.loads(seen["limits"])
    return (
        seen["state"] == OPEN
        and seen["entered_by"] is None
        and seen["pushed_by"] == agent
        and len(sha) == 40
        and not set(sha) - HEX
        and (parent is None or (seen["parent"] == parent and parent != sha))
        and all((seen[kind] or 0) < limit for kind, limit in limits.items())
    )


def _raw_cursor(connection: Connection) -> Any:
    driver = connection.connection.driver_connection
    assert driver is not None
    return driver.cursor()


@cache
def _texts(name: str) -> tuple[str, ...]:
    """What is said to a database of this kind: the look first, then what writes."""
    if name == "sqlite":
        dialect: Dialect = sqlite.dialect(paramstyle="named")
        post_id = _bind("post_id", posts.c.id.type)
        writes = [_add(posts, _post()).returning(posts.c.id), *_follow(post_id, sqlite.insert)]
    else:
        dialect = psycopg.dialect()  # type: ignore[no-untyped-call]
        post = _add(posts, _post()).returning(posts.c.id).cte("post")
        number = select(post.c.id).scalar_subquery()
        rest = [one.cte(f"part_{i}") for i, one in enumerate(_follow(number, postgresql.insert))]
        writes = [select(post.c.id).add_cte(*rest)]
    return tuple(str(one.compile(dialect=dialect)) for one in (_look(), *writes))


def _look() -> Any:
    task, sha, agent = _bind("task"), _bind("sha"), _bind("agent")
    pushed = select(commits.c.agent_id).where(commits.c.task_id == task, commits.c.sha == sha)
    inner = {
        "entered_by": select(runs.c.agent_id).where(runs.c.task_id == task, runs.c.sha == sha),
        "pushed_by": pushed.order_by(commits.c.pushed_at).limit(ONE).offset(NONE),
        "parent": select(runs.c.sha).where(runs.c.task_id == task, runs.c.sha == _bind("parent")),
    }
    inner |= {kind: select(spent.c[kind]).where(spent.c.task_id == task, spent.c.agent_id == agent) for kind in KINDS}
    told = (one.scalar_subquery().label(name) for name, one in inner.items())
    asked = select(tasks.c.state, tasks.c.digest, tasks.c.limits, tasks.c.num_runs, *told).where(tasks.c.id == task)
    return asked.with_for_update(of=tasks)  # SQLite lets one write at a time anyway


def _post() -> dict[str, Any]:
    return {"task_id": ..., "agent_id": ..., "content": ..., "run_sha": "sha", "created_at": ...}


def _follow(post_id: Any, upsert: Any) -> list[Any]:
    """What is written once the post has its number."""
    in_words = {"kind": literal_column("'result'"), "ref": post_id, "task_id": ..., "agent_id": ..., "text": ...}
    job = {"task_id": ..., "sha": ..., "kind": literal_column("'measure'"), "state": literal_column("'waiting'")}
    job |= {"payload": literal_column("'{}'"), "not_before": "created_at", "created_at": ...}
    event = {"at": "created_at", "kind": literal_column("'run'"), "task_id": ..., "agent_id": ..., "data": ...}
    used = upsert(spent).values(_values(spent, dict.fromkeys(("task_id", "agent_id", "tokens", "money"), ...)))
    more = {name: spent.c[name] + used.excluded[name] for name in ("tokens", "money")}
    more["evaluations"] = spent.c.evaluations + ONE
    counted = {"num_runs": _bind("number", tasks.c.num_runs.type), "num_posts": tasks.c.num_posts + ONE}
    counted["num_agents"] = tasks.c.num_agents + _bind("first", tasks.c.num_agents.type)
    counted |= {"last_activity": _bind("created_at"), "version": tasks.c.version + ONE}
    return [
        _add(runs, dict.fromkeys(ENTERED, ...) | {"post_id": post_id}),
        _add(search_entries, in_words | {"created_at": ...}),
        _add(jobs, job),
        _add(events, event),
        used.values(evaluations=ONE).on_conflict_do_update(index_elements=["task_id", "agent_id"], set_=more),
        update(agents).where(agents.c.id == _bind("agent_id")).values(num_runs=agents.c.num_runs + ONE),
        update(tasks).where(tasks.c.id == _bind("task_id")).values(counted),
    ]


def _add(table: Table, values: dict[str, Any]) -> Any:
    return insert(table).inline().values(_values(table, values))


def _values(table: Table, values: dict[str, Any]) -> dict[str, Any]:
    """Columns with what goes into them: `...` the value of the same name, a word the value of that name."""
    named = {name: name if value is ... else value for name, value in values.items()}
    return {
        name: _bind(value, table.c[name].type) if isinstance(value, str) else value for name, value in named.items()
    }


def _bind(name: str, kind: Any = None) -> Any:
    return bindparam(f"b_{name}", type_=kind or String())
