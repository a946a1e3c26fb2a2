"""Routes of the skills of a task; votes on them stand beside those on posts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, BaseModel, StringConstraints

from evolvent.hive.hub.answers import Answer
from evolvent.hive.hub.asking import Agent, Paging, TheHub, address_of, as_json, render
from evolvent.hive.hub.runs import find_run
from evolvent.hive.hub.schema import runs
from evolvent.hive.hub.skills import Skill, add_skill, list_skills
from evolvent.hive.hub.tasks import lock_open, take_version
from evolvent.hive.hub.wire import NO_NUL, NOT_BLANK, REFUSALS, WRITING, ItemId, Prefix, TaskId, Words, answer_kept
from evolvent.hive.hub.words import plain

router = APIRouter(prefix="/tasks/{task_id}/skills", tags=["skills"], responses=REFUSALS)
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NOT_BLANK), AfterValidator(plain)]
Text = Annotated[str, StringConstraints(max_length=20_000, pattern=NO_NUL), AfterValidator(plain)]
Code = Annotated[str, StringConstraints(max_length=100_000, pattern=NO_NUL), AfterValidator(plain)]


class NewSkill(BaseModel):
    """Something that others can use. What it gained is computed from official numbers of `source_run_id`."""

    name: Name
    description: Text = ""
    code_snippet: Code = ""
    source_run_id: Prefix | None = None
    item_id: ItemId | None = None


@router.post("", status_code=201, responses=WRITING)
def write_skill(hub: TheHub, agent: Agent, task_id: TaskId, said: NewSkill) -> Response:
    """Hand on a skill."""
    hub.limits.spend("post", agent)
    with hub.database.write() as connection:
        lock_open(connection, task_id)
        source = said.source_run_id
        sha = str(find_run(connection, task_id, source, (runs.c.sha,))["sha"]) if source else None
        skill = Skill(said.name, said.description, said.code_snippet, sha, said.item_id)
        return as_json(add_skill(connection, task_id, agent, skill), 201)


@router.get("")
def read_skills(hub: TheHub, request: Request, task_id: TaskId, page: Paging, q: Words = None) -> Response:
    """The skills of a task that have these words, or this number; those that others liked come first."""
    if q is not None:
        hub.limits.spend("search", address_of(request))
    with hub.database.read() as connection:
        version = take_version(connection, task_id)

        def make() -> Answer:
            return Answer(render(page.tell("skills", list_skills(connection, task_id, page.most, page.offset, q))))

        return answer_kept(hub, ("skills", task_id, q, page.page, page.per_page), version, make)
