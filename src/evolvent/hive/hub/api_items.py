"""Routes of the work items of a task."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from evolvent.hive.hub import item_talk
from evolvent.hive.hub.api_feed import page_of_30
from evolvent.hive.hub.asking import MAX_PAGE, Agent, Page, TheHub, as_json
from evolvent.hive.hub.item_list import Filter, list_items, read_item
from evolvent.hive.hub.items import add_item, assign_item, change_item, drop_item
from evolvent.hive.hub.tasks import lock_open, take_version
from evolvent.hive.hub.wire import NO_NUL, NOT_BLANK, REFUSALS, WRITING, Content, ItemId, TaskId, Word
from evolvent.hive.hub.words import plain

router = APIRouter(prefix="/tasks/{task_id}/items", tags=["items"], responses=REFUSALS)
Status = Literal["backlog", "in_progress", "review", "archived"]
StatusFilter = Annotated[str, Query(pattern="^!?(backlog|in_progress|review|archived)$")]
Priority = Literal["none", "low", "medium", "high", "urgent"]
Sort = Annotated[str, Query(pattern="^(recent|updated|priority)(:(asc|desc))?$")]
Title = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=NOT_BLANK), AfterValidator(plain)]
Text = Annotated[str, StringConstraints(max_length=10_000, pattern=NO_NUL), AfterValidator(plain)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=50, pattern="^[a-zA-Z0-9_-]+$")]
Labels = Annotated[list[Label], Field(max_length=20)]
AgentId = Annotated[str, StringConstraints(min_length=1, max_length=20, pattern="^[a-z0-9-]+$")]
Item = Annotated[str, Path(max_length=40, pattern=NO_NUL)]
_UNSAID: Any = None  # not the same as null, which none of these may be


class ItemChange(BaseModel):
    """Fields of an item that are to be other; None takes away what need not be there."""

    title: Title = Field(default=_UNSAID)
    description: Text | None = None
    status: Status = Field(default=_UNSAID)
    priority: Priority = Field(default=_UNSAID)
    assignee_id: AgentId | None = None
    parent_id: ItemId | None = None
    labels: Labels = Field(default=_UNSAID)
    metadata: dict[str, Any] | None = None


class NewItem(ItemChange):
    """A piece of work."""

    title: Title


class NewRemark(BaseModel):
    """Something to say of an item."""

    content: Content


def page_of_25(
    page: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 1, per_page: Annotated[int, Query(ge=1, le=100)] = 25
) -> Page:
    """Which page of items."""
    return Page(page, per_page)


def choose(
    status: StatusFilter | None = None,
    priority: Priority | None = None,
    assignee: Word = None,
    label: Word = None,
    parent: Word = None,
    sort: Sort = "recent",
) -> Filter:
    """Which items; "!archived" is all that are not archived, the assignee "none" is nobody."""
    return Filter(status, priority, assignee, label, parent, sort)


@router.post("", status_code=201, responses=WRITING)
def write_item(hub: TheHub, agent: Agent, task_id: TaskId, said: NewItem) -> Response:
    """Put an item on the board."""
    hub.limits.spend("item", agent)
    with hub.database.write() as connection:
        lock_open(connection, task_id)
        return as_json(add_item(connection, task_id, agent, said.model_dump(exclude_unset=True)), 201)


@router.get("")
def read_items(
    hub: TheHub,
    task_id: TaskId,
    page: Annotated[Page, Depends(page_of_25)],
    chosen: Annotated[Filter, Depends(choose)],
) -> Response:
    """The items of a task."""
    with hub.database.read() as connection:
        take_version(connection, task_id)
        return as_json(page.tell("items", list_items(connection, task_id, chosen, most=page.most, offset=page.offset)))


@router.get("/{item_id}")
def read_one(hub: TheHub, task_id: TaskId, item_id: Item) -> Response:
    """An item with its parts."""
    with hub.database.read() as connection:
        return as_json(read_item(connection, task_id, item_id))


@router.patch("/{item_id}", responses=WRITING)
def change(hub: TheHub, agent: Agent, task_id: TaskId, item_id: Item, said: ItemChange) -> Response:
    """Change some fields of an item."""
    hub.limits.spend("item", agent)
    with hub.database.write() as connection:
        lock_open(connection, task_id)
        return as_json(change_item(connection, task_id, agent, item_id, said.model_dump(exclude_unset=True)))


@router.delete("/{item_id}", status_code=204, responses=WRITING)
def drop(hub: TheHub, agent: Agent, task_id: TaskId, item_id: Item) -> Response:
    """Take away an item of your own that has no parts."""
    hub.limits.spend("item", agent)
    with hub.database.write() as connection:
        lock_open(connection, task_id)
        drop_item(connection, task_id, agent, item_id)
    return Response(status_code=204)


@router.post("/{item_id}/assign", responses=WRITING)
def assign(hub: TheHub, agent: Agent, task_id: TaskId, item_id: Item) -> Response:
    """Take an item for two hours."""
    hub.limits.spend("item", agent)
    with hub.database.write() as connection:
        lock_open(connection, task_id)
        return as_json(assign_item(connection, task_id, agent, item_id))


@router.post("/{item_id}/comments", status_code=201, responses=WRITING)
def remark(hub: TheHub, agent: Agent, task_id: TaskId, item_id: Item, said: NewRemark) -> Response:
    """Say something of an item."""
    hub.limits.spend("item", agent)
    with hub.database.write() as connection:
        lock_open(connection, task_id)
        return as_json(item_talk.add_item_comment(connection, task_id, agent, item_id, said.content), 201)


@router.get("/{item_id}/comments")
def read_remarks(hub: TheHub, task_id: TaskId, item_id: Item, page: Annotated[Page, Depends(page_of_30)]) -> Response:
    """What was said of an item, in order."""
    with hub.database.read() as connection:
        rows = item_talk.list_item_comments(connection, task_id, item_id, most=page.most, offset=page.offset)
        return as_json(page.tell("comments", rows))


@router.delete("/{item_id}/comments/{comment_id}", status_code=204, responses=WRITING)
def drop_remark(hub: TheHub, agent: Agent, task_id: TaskId, item_id: Item, comment_id: int) -> Response:
    """Take back what you said of an item."""
    hub.limits.spend("item", agent)
    with hub.database.write() as connection:
        lock_open(connection, task_id)
        item_talk.drop_item_comment(connection, task_id, agent, item_id, comment_id)
    return Response(status_code=204)


@router.get("/{item_id}/activity")
def read_activity(hub: TheHub, task_id: TaskId, item_id: Item, page: Annotated[Page, Depends(page_of_30)]) -> Response:
    """What came of an item, the newest first."""
    with hub.database.read() as connection:
        rows = item_talk.list_activity(connection, task_id, item_id, most=page.most, offset=page.offset)
        return as_json(page.tell("activity", rows))
