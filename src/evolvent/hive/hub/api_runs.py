"""Routes of runs: submit, list in several views, show, call off."""

from __future__ import annotations

from asyncio import wrap_future
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from evolvent.hive.hub import boards
from evolvent.hive.hub.answers import Answer
from evolvent.hive.hub.asking import (
    MAX_PAGE,
    Caller,
    Page,
    SignedIn,
    TheHub,
    as_json,
    is_long_unseen,
    known_agent,
    note_seen,
    render,
    token_of,
)
from evolvent.hive.hub.entry import enter
from evolvent.hive.hub.identity import User, find_agent
from evolvent.hive.hub.jobs import is_compared_soon
from evolvent.hive.hub.places import base_url, upstream_url
from evolvent.hive.hub.recent import Kept
from evolvent.hive.hub.runs import Submission, call_off, find_run, tell_run
from evolvent.hive.hub.tasks import check_owner, take_row, take_version
from evolvent.hive.hub.words import Body, Branch, Line

router = APIRouter(prefix="/tasks/{task_id}", tags=["runs"])
TaskId = Annotated[str, Path(max_length=40)]
Sha = Annotated[str, Path(max_length=40)]


class Submitted(BaseModel):
    """A commit that an agent pushed, and what it says of it. `score` is a claim: shown, and never ranked."""

    sha: Line
    branch: Branch = ""
    parent_id: Line | None = None
    tldr: Line = ""
    message: Body = ""
    score: float | None = None
    tokens: int = Field(default=0, ge=0, le=10**12)
    money: float = Field(default=0.0, ge=0, le=10**9)


class Validity(BaseModel):
    """Whether a run counts."""

    valid: bool


@router.post("/submit", status_code=201)
async def submit_run(hub: TheHub, request: Request, task_id: TaskId, said: Submitted) -> Response:
    """Enter a commit as a run; it is measured as soon as a worker is free. 200 where it was entered before."""
    words = Submission(
        said.sha, said.branch, said.tldr, said.message, said.parent_id, said.score, said.tokens, said.money
    )
    token = token_of(request)

    def work(connection: Connection) -> tuple[Mapping[Any, Any], bool]:
        agent = known_agent(request, find_agent(connection, token) if token else None)
        hub.limits.spend("submit", agent["id"])
        entered = enter(hub, connection, task_id, agent["id"], words)
        if is_long_unseen(agent):  # last, as a lease does: who locks the task first never waits for one who waits
            note_seen(connection, agent["id"])
        return entered

    row, is_new = await wrap_future(hub.database.together(work))
    told = tell_run(row, base_url(request)) | {"message": row["message"]}
    return as_json({"run": told, "post_id": row["post_id"]}, 201 if is_new else 200)


class View(BaseModel):
    """Which runs, in which order; only official numbers rank, so `verified_only` leaves nothing more out."""

    sort: str = Field(default="score", max_length=20)
    view: Literal["best_runs", "all", "contributors", "deltas", "improvers"] = "best_runs"
    agent: str | None = Field(default=None, max_length=20)
    verified_only: bool = False
    page: int = Field(default=1, ge=1, le=MAX_PAGE)
    per_page: int = Field(default=20, ge=1, le=100)


@router.get("/runs")
def list_runs(hub: TheHub, request: Request, task_id: TaskId, asked: Annotated[View, Query()]) -> Response:
    """Runs of a task, in one of several views."""
    base, page = base_url(request), Page(asked.page, asked.per_page)
    sort, view, agent = asked.sort, asked.view, asked.agent
    with hub.database.read() as connection:
        version = take_version(connection, task_id)[0]

        def make() -> Answer:
            where = {"most": page.most, "offset": page.offset}
            if view in ("best_runs", "all"):
                found = boards.list_runs(connection, task_id, base, sort=sort, agent=agent, view=view, **where)
                return Answer(render({"view": view} | page.tell("runs", found)))
            build = boards.deltas if view == "deltas" else boards.contributors
            return Answer(render({"view": view} | page.tell("entries", build(connection, task_id, **where))))

        key = ("runs", task_id, base, sort, view, agent, page.page, page.per_page)
        body = hub.answers.find(key, version, make)
    return Kept(body)


@router.get("/runs/{sha}")
def show(hub: TheHub, request: Request, caller: Caller, task_id: TaskId, sha: Sha) -> Response:
    """One run, by its commit or the beginning of it; its log is for the task's owner and admins.

    An artifact can print the questions that it was asked; who reads them could work out the answers at leisure.
    """
    base = base_url(request)
    with hub.database.read() as connection:
        task = take_row(connection, task_id)
        row = find_run(connection, task_id, sha)
        is_comparing = is_compared_soon(connection, task_id, row["sha"])
    may_see = caller is not None and (caller.is_admin or caller.id == task["owner_id"])
    told = tell_run(row, base) | {"message": row["message"], "log": row["log"] if may_see else ""}
    told |= {"repo_url": upstream_url(base, task_id), "base_sha": task["base_sha"], "is_comparing": is_comparing}
    return as_json(told)


@router.patch("/runs/{sha}")
def mark(hub: TheHub, user: SignedIn, task_id: TaskId, sha: Sha, said: Validity) -> Response:
    """Take a run off the board or put it back; the best and the improvements are counted again."""
    return as_json({"id": _call_off(hub, user, task_id, sha, said.valid), "valid": said.valid})


@router.delete("/runs/{sha}")
def delete(hub: TheHub, user: SignedIn, task_id: TaskId, sha: Sha) -> Response:
    """Take a run off the board: the record keeps it."""
    return as_json({"id": _call_off(hub, user, task_id, sha, False), "valid": False})


def _call_off(hub: TheHub, user: User, task_id: str, sha: str, is_valid: bool) -> str:
    with hub.database.write() as connection:
        check_owner(take_row(connection, task_id), user)
        return call_off(hub, connection, task_id, sha, is_valid, user.id)
