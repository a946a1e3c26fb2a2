"""Routes of tasks: open, list, show, change; clone one; its context, budget and leaderboard."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Path, Query, Request, Response, UploadFile
from pydantic import BaseModel

from evolvent.hive.hub import boards
from evolvent.hive.hub.answers import Answer
from evolvent.hive.hub.archives import read_archive
from evolvent.hive.hub.asking import Admin, Agent, Paging, SignedIn, TheHub, as_json, render
from evolvent.hive.hub.budgets import tell_budget
from evolvent.hive.hub.context import build_context
from evolvent.hive.hub.gate import give_key
from evolvent.hive.hub.places import base_url, fork_url, push_url, upstream_url
from evolvent.hive.hub.recent import Kept
from evolvent.hive.hub.refusals import Refused
from evolvent.hive.hub.scores import send_to_holdout
from evolvent.hive.hub.tasks import (
    Opening,
    change_task,
    check_owner,
    list_tasks,
    lock_open,
    open_task,
    take_row,
    take_version,
    tell_task,
)
from evolvent.hive.hub.words import Line
from evolvent.hive.task_folder import build_task

MAX_BOARD = 100
router = APIRouter(prefix="/tasks", tags=["tasks"])
TaskId = Annotated[str, Path(max_length=40)]


class Change(BaseModel):
    """What to change of a task."""

    name: Line | None = None
    description: Line | None = None
    state: Line | None = None
    limits: dict[str, Any] | None = None


@router.get("")
def list_all(hub: TheHub, request: Request, page: Paging, q: Annotated[str, Query(max_length=300)] = "") -> Response:
    """The tasks, the newest first."""
    with hub.database.read() as connection:
        found = list_tasks(connection, base_url(request), q, most=page.most, offset=page.offset)
    return as_json(page.tell("tasks", found))


@router.post("", status_code=201)
def create(
    hub: TheHub,
    user: SignedIn,
    archive: Annotated[UploadFile, File()],
    id: Annotated[str, Form(max_length=40)] = "",
    name: Annotated[str, Form(max_length=200)] = "",
    description: Annotated[str, Form(max_length=350)] = "",
) -> Response:
    """Open a task from an archive of its folder, sealed parts included; its baseline is measured first."""
    if user.role not in ("admin", "owner"):
        raise Refused(403, "only owners and admins open tasks", got=f"a key of role {user.role}")
    task = build_task(read_archive(archive.file), "archive")
    if id and id != task.name:
        raise Refused(400, "the archive is another task", where="id", got=id, wanted=task.name)
    return as_json(open_task(hub, task, Opening(name, description, user)), 201)


@router.get("/{task_id}")
def show(hub: TheHub, request: Request, task_id: TaskId) -> Response:
    """One task, with its program."""
    with hub.database.read() as connection:
        return as_json(tell_task(take_row(connection, task_id), base_url(request)))


@router.patch("/{task_id}")
def change(hub: TheHub, request: Request, user: SignedIn, task_id: TaskId, said: Change) -> Response:
    """Rename, describe, limit, open or close a task."""
    with hub.database.write() as connection:
        change_task(connection, task_id, user, said.model_dump(exclude_none=True))
        return as_json(tell_task(take_row(connection, task_id), base_url(request)))


@router.post("/{task_id}/clone", status_code=201)
def clone(hub: TheHub, request: Request, agent: Agent, task_id: TaskId) -> Response:
    """A fork for this agent alone, and the key that pushes to it; asked again, the key before is worth nothing."""
    with hub.database.read() as connection:
        take_row(connection, task_id)
    commit, key = hub.repositories.fork(task_id, agent), secrets.token_urlsafe(32)
    with hub.database.write() as connection:
        lock_open(connection, task_id)
        give_key(connection, task_id, agent, key, commit)
    base = base_url(request)
    return as_json(
        {
            "mode": "fork",
            "ssh_url": push_url(base, task_id, agent, key),
            "fork_url": fork_url(base, task_id, agent),
            "upstream_url": upstream_url(base, task_id),
            "private_key": "",
            "base_sha": commit,
        },
        201,
    )


@router.get("/{task_id}/context")
def context(hub: TheHub, request: Request, task_id: TaskId) -> Response:
    """Everything that an agent reads before a step."""
    base = base_url(request)
    with hub.database.read() as connection:
        version, board_version = take_version(connection, task_id)

        def make() -> Answer:
            board = boards.top(hub, connection, task_id, base, board_version)
            said, until = build_context(connection, task_id, base, board)
            return Answer(render(said), until)

        body = hub.answers.find(("context", task_id, base), version, make)
    return Kept(body)


@router.get("/{task_id}/leaderboard")
def leaderboard(hub: TheHub, request: Request, task_id: TaskId, page: Paging) -> Response:
    """Official runs, the best first: measured, likely, and on the hold-out."""
    base = base_url(request)
    with hub.database.read() as connection:
        _, version = take_version(connection, task_id)

        def make() -> Answer:
            rows = boards.leaderboard(connection, task_id, base, page.offset + page.most)
            return Answer(render(page.tell("rows", rows[page.offset :])))

        body = hub.answers.find(("board", task_id, base, page.page, page.per_page), version, make)
    return Kept(body)


@router.get("/{task_id}/graph")
def graph(hub: TheHub, task_id: TaskId, max_nodes: Annotated[int, Query(ge=1, le=1000)] = 200) -> Response:
    """The newest runs, each with the run it builds on."""
    with hub.database.read() as connection:
        version = take_version(connection, task_id)[0]

        def make() -> Answer:
            return Answer(render(boards.graph(connection, task_id, max_nodes)))

        body = hub.answers.find(("graph", task_id, max_nodes), version, make)
    return Kept(body)


@router.get("/{task_id}/budget")
def budget(hub: TheHub, agent: Agent, task_id: TaskId) -> Response:
    """What the agent that asks has spent here, and what it may spend."""
    with hub.database.read() as connection:
        return as_json(tell_budget(connection, take_row(connection, task_id), agent))


@router.post("/{task_id}/holdout", status_code=202)
def holdout(hub: TheHub, user: SignedIn, task_id: TaskId) -> Response:
    """Let the best runs see the hold-out, as many as may over the life of the task."""
    with hub.database.write() as connection:
        check_owner(take_row(connection, task_id), user)
        return as_json({"runs": send_to_holdout(hub, connection, task_id)}, 202)


@router.delete("/{task_id}", status_code=409)
def delete(hub: TheHub, _: Admin, task_id: TaskId) -> Response:
    """Runs are kept for good: a task is closed, not deleted."""
    with hub.database.read() as connection:
        take_row(connection, task_id)
    raise Refused(409, "a task is never deleted", where=task_id, cure='PATCH it to {"state": "closed"}')
