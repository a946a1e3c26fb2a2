"""Shapes that requests about feeds, skills, items and searches share, so that the OpenAPI document is true."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Annotated, Any

from fastapi import Path, Query, Response
from pydantic import AfterValidator, BaseModel, StringConstraints

from evolvent.hive.hub.answers import Answer
from evolvent.hive.hub.hub import Hub
from evolvent.hive.hub.recent import Kept
from evolvent.hive.hub.words import plain

NO_NUL = r"^[^\x00]*$"
NOT_BLANK = r"^[^\x00]*[^\x00\s][^\x00]*$"


class Refusal(BaseModel):
    """Why a request was not granted."""

    detail: str


REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "a value means nothing here"},
    404: {"model": Refusal, "description": "there is no such thing"},
    422: {"model": Refusal, "description": "the request has another shape"},
    429: {"model": Refusal, "description": "too many; Retry-After says when to come again"},
}
WRITING: dict[int | str, dict[str, Any]] = {
    401: {"model": Refusal, "description": "no agent has this token"},
    403: {"model": Refusal, "description": "somebody else may do this"},
    409: {"model": Refusal, "description": "the task is closed, or somebody was faster"},
}

TaskId = Annotated[str, Path(max_length=100, pattern=NO_NUL)]
Word = Annotated[str | None, Query(max_length=100, pattern=NO_NUL)]
Words = Annotated[str | None, Query(max_length=300, pattern=NO_NUL)]
Content = Annotated[str, StringConstraints(min_length=1, max_length=20_000, pattern=NOT_BLANK), AfterValidator(plain)]
Prefix = Annotated[str, StringConstraints(min_length=7, max_length=40, pattern=r"^[0-9a-f]+$")]
ItemId = Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=NO_NUL), AfterValidator(plain)]


def answer_kept(hub: Hub, key: Hashable, version: Hashable, make: Callable[[], Answer]) -> Response:
    """An answer that is rendered once for each version of what it was made from."""
    return Kept(hub.answers.find(key, version, make))
