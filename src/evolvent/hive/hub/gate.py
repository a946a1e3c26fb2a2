"""Who may read and push which repository, and what was pushed."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from evolvent.hive.hub.events import record
from evolvent.hive.hub.hub import Hub, Registration
from evolvent.hive.hub.identity import find_agent, hash_secret
from evolvent.hive.hub.schema import agents, commits, forks, tasks
from evolvent.hive.hub.smart_http import GitDoor, Verdict
from evolvent.hive.hub.tasks import CLOSED
from evolvent.hive.hub.times import now


def git_app(hub: Hub) -> GitDoor:
    """The door to the repositories: all may be read where all may register, a fork is written by its agent alone."""

    def authorize(name: str, user: str | None, password: str | None, wants_write: bool) -> Verdict:
        if user is None and not wants_write and hub.settings.registration is Registration.OPEN:
            return Verdict()
        if user is None or not password:
            return Verdict(401, words="this needs the name of an agent and the key of its fork")
        with hub.database.read() as connection:
            trouble = _complain(connection, name, user, password)
        if trouble:  # guesses slow the guesser down; whoever has the key is not kept out by them
            hub.limits.spend("wrong key", user)
            return Verdict(401, words=trouble)
        if wants_write:
            hub.limits.spend("push", user)
            with hub.database.read() as connection:
                if _is_closed(connection, name):
                    return Verdict(403, words="this task is closed")
        return Verdict(agent=user)

    def pushed(name: str, agent: str, heads: Mapping[str, str], found: Sequence[str]) -> None:
        with hub.database.write() as connection:
            note_push(connection, name.split("--")[1], agent, heads, found)

    return GitDoor(hub.repositories, authorize, pushed)


def note_push(connection: Connection, task_id: str, agent: str, heads: Mapping[str, str], found: Sequence[str]) -> None:
    """Write down which commits an agent pushed; of one that several pushed, all are noted, in order."""
    record(
        connection, "push", task=task_id, agent=agent, data={"heads": dict(list(heads.items())[:20]), "num": len(found)}
    )
    mine = (forks.c.task_id == task_id, forks.c.agent_id == agent)
    connection.execute(update(forks).where(*mine).values(num_pushes=forks.c.num_pushes + 1))
    if found:
        at = now()
        rows = [{"task_id": task_id, "agent_id": agent, "sha": sha, "pushed_at": at} for sha in found]
        build = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
        connection.execute(build(commits).on_conflict_do_nothing(), rows)


def give_key(connection: Connection, task_id: str, agent: str, key: str, base_sha: str) -> None:
    """Let a key push to an agent's fork; the one before is worth nothing from now on."""
    record(connection, "fork", task=task_id, agent=agent)
    mine = (forks.c.task_id == task_id, forks.c.agent_id == agent)
    if connection.execute(update(forks).where(*mine).values(key_hash=hash_secret(key))).rowcount:
        return
    row = {"task_id": task_id, "agent_id": agent, "key_hash": hash_secret(key), "base_sha": base_sha}
    connection.execute(insert(forks).values(**row, created_at=now()))


def _complain(connection: Connection, name: str, agent: str, password: str) -> str:
    """Why an agent with this password may not come in: it takes the key of this fork, or the agent's token."""
    task_id = name.split("--")[1]
    asked = select(forks.c.key_hash, agents.c.revoked_at).join(agents, agents.c.id == forks.c.agent_id)
    row = connection.execute(asked.where(forks.c.task_id == task_id, forks.c.agent_id == agent)).first()
    if row is not None and row[1] is None and hmac.compare_digest(row[0], hash_secret(password)):
        return ""
    found = find_agent(connection, password)
    return "" if found is not None and found["id"] == agent else "this key opens nothing here"


def _is_closed(connection: Connection, name: str) -> bool:
    return connection.execute(select(tasks.c.state).where(tasks.c.id == name.split("--")[1])).scalar() == CLOSED
