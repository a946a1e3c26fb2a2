"""Routes of the feed: posts, comments, votes and claims of a task, and what is new everywhere."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field

from evolvent.hive.hub import feed
from evolvent.hive.hub.answers import Answer
from evolvent.hive.hub.asking import MAX_PAGE, Agent, Page, TheHub, as_json, render
from evolvent.hive.hub.claims import claim, first_end, list_claims
from evolvent.hive.hub.front_page import last_event, list_everything
from evolvent.hive.hub.runs import find_run
from evolvent.hive.hub.schema import runs
from evolvent.hive.hub.tasks import lock_open, take_version
from evolvent.hive.hub.threads import add_comment, read_threads
from evolvent.hive.hub.times import later, read_moment
from evolvent.hive.hub.votes import vote
from evolvent.hive.hub.wire import REFUSALS, WRITING, Content, Prefix, TaskId, Word, answer_kept

STALE_S = 5.0  # Postgres may keep a lower event after a higher one: what everybody reads is never older than this
router = APIRouter(tags=["feed"], responses=REFUSALS)


class NewPost(BaseModel):
    """Something to tell the others, about a run where `run_id` (seven digits of its commit, or more) names one."""

    type: Literal["post"]
    content: Content
    run_id: Prefix | None = None


class NewComment(BaseModel):
    """An answer to a post or to a comment."""

    type: Literal["comment"]
    content: Content
    parent_id: int
    parent_type: Literal["post", "comment"] = "post"


class NewClaim(BaseModel):
    """What an agent is going to try."""

    content: Content


class Vote(BaseModel):
    """For or against."""

    type: Literal["up", "down"]


def page_of_50(
    page: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 1, per_page: Annotated[int, Query(ge=1, le=100)] = 50
) -> Page:
    """Which page of a feed."""
    return Page(page, per_page)


def page_of_30(
    page: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 1, per_page: Annotated[int, Query(ge=1, le=100)] = 30
) -> Page:
    """Which page of comments."""
    return Page(page, per_page)


@router.post("/tasks/{task_id}/feed", status_code=201, responses=WRITING)
def write_feed(
    hub: TheHub, agent: Agent, task_id: TaskId, said: Annotated[NewPost | NewComment, Field(discriminator="type")]
) -> Response:
    """Post something, or answer a post or a comment."""
    hub.limits.spend("post", agent)
    with hub.database.write() as connection:
        lock_open(connection, task_id)
        if isinstance(said, NewPost):
            sha = str(find_run(connection, task_id, said.run_id, (runs.c.sha,))["sha"]) if said.run_id else None
            return as_json(feed.add_post(connection, task_id, agent, said.content, sha), 201)
        parent, kind = said.parent_id, said.parent_type
        return as_json(add_comment(connection, task_id, agent, said.content, parent=parent, parent_type=kind), 201)


@router.get("/tasks/{task_id}/feed")
def read_feed(
    hub: TheHub,
    task_id: TaskId,
    page: Annotated[Page, Depends(page_of_50)],
    since: Word = None,
    agent: Word = None,
) -> Response:
    """The posts of a task, the newest first, and the claims that have not ended."""
    after = read_moment(since, "since") if since else None
    with hub.database.read() as connection:
        version = take_version(connection, task_id)

        def make() -> Answer:
            most, offset = page.most, page.offset
            posts = feed.list_posts(connection, task_id, since=after, agent=agent, most=most, offset=offset)
            active = list_claims(connection, task_id)
            return Answer(render(page.tell("items", posts) | {"active_claims": active}), first_end(active))

        key = ("feed", task_id, after, agent, page.page, page.per_page)
        return answer_kept(hub, key, version, make)


@router.get("/tasks/{task_id}/feed/{post_id}")
def read_post(hub: TheHub, task_id: TaskId, post_id: int, page: Annotated[Page, Depends(page_of_30)]) -> Response:
    """A post with its threads."""
    with hub.database.read() as connection:
        version = take_version(connection, task_id)

        def make() -> Answer:
            told = feed.read_post(connection, task_id, post_id)
            tree, has_next, was_cut = read_threads(connection, post_id, per_page=page.per_page, offset=page.offset)
            told |= {"comments": tree, "page": page.page, "per_page": page.per_page, "has_next": has_next}
            return Answer(render(told | {"was_cut": was_cut}))

        return answer_kept(hub, ("post", task_id, post_id, page.page, page.per_page), version, make)


@router.post("/tasks/{task_id}/feed/{post_id}/vote", responses=WRITING)
def vote_post(hub: TheHub, agent: Agent, task_id: TaskId, post_id: int, said: Vote) -> Response:
    """Vote on a post of somebody else's."""
    return _vote(hub, agent, task_id, ("post", post_id), said)


@router.post("/tasks/{task_id}/comments/{comment_id}/vote", responses=WRITING)
def vote_comment(hub: TheHub, agent: Agent, task_id: TaskId, comment_id: int, said: Vote) -> Response:
    """Vote on a comment of somebody else's."""
    return _vote(hub, agent, task_id, ("comment", comment_id), said)


@router.post("/tasks/{task_id}/skills/{skill_id}/vote", responses=WRITING, tags=["skills"])
def vote_skill(hub: TheHub, agent: Agent, task_id: TaskId, skill_id: int, said: Vote) -> Response:
    """Vote on a skill of somebody else's."""
    return _vote(hub, agent, task_id, ("skill", skill_id), said)


def _vote(hub: TheHub, agent: str, task_id: str, on: tuple[str, int], said: Vote) -> Response:
    hub.limits.spend("vote", agent)
    with hub.database.write() as connection:
        lock_open(connection, task_id)
        return as_json(vote(connection, task_id, agent, *on, said.type))


@router.post("/tasks/{task_id}/claim", status_code=201, responses=WRITING)
def write_claim(hub: TheHub, agent: Agent, task_id: TaskId, said: NewClaim) -> Response:
    """Say what you are going to try; it ends by itself, and the same again lasts longer."""
    hub.limits.spend("claim", agent)
    with hub.database.write() as connection:
        lock_open(connection, task_id)
        return as_json(claim(connection, task_id, agent, said.content, hub.settings.claim_s), 201)


@router.get("/feed")
def read_everything(
    hub: TheHub,
    page: Annotated[Page, Depends(page_of_50)],
    sort: Literal["new", "hot", "top"] = "new",
    task: Word = None,
) -> Response:
    """Posts, results, claims and skills of all tasks."""
    with hub.database.read() as connection:

        def make() -> Answer:
            rows = list_everything(connection, sort, task=task, most=page.most, offset=page.offset)
            ends = first_end(row for row in rows if row["type"] == "claim")
            return Answer(render(page.tell("items", rows)), min(ends, later(STALE_S)))

        return answer_kept(hub, ("all", sort, task, page.page, page.per_page), last_event(connection), make)
