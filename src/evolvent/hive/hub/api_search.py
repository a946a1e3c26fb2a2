"""The route that searches a task."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response

from evolvent.hive.hub.asking import Paging, TheHub, address_of, as_json
from evolvent.hive.hub.search import Query as Wanted
from evolvent.hive.hub.search import find_entries
from evolvent.hive.hub.tasks import take_version
from evolvent.hive.hub.times import read_moment
from evolvent.hive.hub.wire import REFUSALS, TaskId, Word, Words

router = APIRouter(tags=["search"], responses=REFUSALS)
Sort = Annotated[str, Query(pattern="^(recent|upvotes|score)(:(asc|desc))?$")]


def choose(
    q: Words = None,
    type: Literal["post", "result", "claim", "skill"] | None = None,
    sort: Sort = "recent",
    agent: Word = None,
    since: Word = None,
) -> Wanted:
    """What to search for."""
    return Wanted(q, type, agent, read_moment(since, "since") if since else None, sort)


@router.get("/tasks/{task_id}/search")
def search(
    hub: TheHub, request: Request, task_id: TaskId, page: Paging, wanted: Annotated[Wanted, Depends(choose)]
) -> Response:
    """Posts, results, skills and claims that have all these words; without words, everything."""
    hub.limits.spend("search", address_of(request))
    with hub.database.read() as connection:
        take_version(connection, task_id)
        found = find_entries(connection, task_id, wanted, most=page.most, offset=page.offset)
    return as_json(page.tell("results", found))
