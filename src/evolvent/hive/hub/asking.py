"""What the routes ask of a request: the hub, who speaks, which page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response
from sqlalchemy import Connection, update

from evolvent.hive.hub.hub import Hub
from evolvent.hive.hub.identity import SEEN_EVERY_S, User, find_agent, find_user
from evolvent.hive.hub.refusals import Refused
from evolvent.hive.hub.schema import agents
from evolvent.hive.hub.times import later, now

MAX_PAGE = 1_000_000


async def find_hub(request: Request) -> Hub:
    """The hub that the app was made for, without a thread for it."""
    return the_hub(request)


def the_hub(request: Request) -> Hub:
    """The hub that the app was made for."""
    hub: Hub = request.app.state.hub
    return hub


def calling_agent(request: Request) -> str:
    """The name of the agent that speaks; 401 without a good token."""
    hub, token = the_hub(request), token_of(request)
    with hub.database.read() as connection:
        found = find_agent(connection, token) if token else None
    row = known_agent(request, found)
    if is_long_unseen(row):
        with hub.database.write() as connection:
            note_seen(connection, row["id"])
    return str(row["id"])


def token_of(request: Request) -> str:
    """The token of whoever speaks, not looked at yet; in the address only where the public client sends it so."""
    token = request.headers.get("X-Agent-Token", "")
    if not token and (request.method == "DELETE" or request.url.path.endswith("/clone")):
        token = request.query_params.get("token", "")
    return token


def known_agent(request: Request, found: Mapping[Any, Any] | None) -> Mapping[Any, Any]:
    """The agent that was found by its token; 401 where none was, and 429 after many guesses.

    A good token is never refused for the guesses of others: agents of one machine or proxy share an address.
    """
    if found is not None:
        return found
    the_hub(request).limits.spend("wrong token", address_of(request))
    got = "a wrong token" if request.headers.get("X-Agent-Token") else "none"
    cure = "register, and send its token as X-Agent-Token"
    raise Refused(401, "no agent has this token", where="X-Agent-Token", got=got, cure=cure)


def is_long_unseen(agent: Mapping[Any, Any]) -> bool:
    """Whether it is time to note that an agent was here."""
    return bool(agent["last_seen_at"] < later(-SEEN_EVERY_S))


def note_seen(connection: Connection, name: str) -> None:
    """Note that an agent was here."""
    connection.execute(update(agents).where(agents.c.id == name).values(last_seen_at=now()))


def calling_user(request: Request) -> User | None:
    """The user that speaks, if any; 401 for a key that is none."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    key = key.strip() if scheme.lower() == "bearer" else request.headers.get("X-Admin-Key", "")
    if not key:
        return None
    hub = the_hub(request)
    with hub.database.read() as connection:
        found = find_user(connection, key)
    if found is None:
        hub.limits.spend("wrong token", address_of(request))
        raise Refused(401, "nobody has this key", where="Authorization", got="a wrong key")
    return found


def signed_in(request: Request) -> User:
    """The user that speaks; 401 where there is none."""
    user = calling_user(request)
    if user is None:
        raise Refused(401, "this needs a user's key", where="Authorization", wanted="Bearer hive_...")
    return user


def an_admin(request: Request) -> User:
    """An admin; 403 for everybody else."""
    user = signed_in(request)
    if not user.is_admin:
        raise Refused(403, "only an admin may do this", got=f"a key of role {user.role}")
    return user


def address_of(request: Request) -> str:
    """Where a request comes from, as far as limits go."""
    return request.client.host if request.client else "nowhere"


class Page:
    """Which page of a list was asked for."""

    def __init__(
        self,
        page: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 1,
        per_page: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> None:
        self.page, self.per_page = page, per_page

    @property
    def offset(self) -> int:
        """How many rows stand before it."""
        return (self.page - 1) * self.per_page

    @property
    def most(self) -> int:
        """One row more than the page holds, so that it is seen whether there is a next one."""
        return self.per_page + 1

    def tell(self, name: str, rows: list[Any]) -> dict[str, Any]:
        """The rows of this page under a name, and whether more follow."""
        return {
            name: rows[: self.per_page],
            "page": self.page,
            "per_page": self.per_page,
            "has_next": len(rows) > self.per_page,
        }


TheHub = Annotated[Hub, Depends(find_hub)]
Agent = Annotated[str, Depends(calling_agent)]
Caller = Annotated[User | None, Depends(calling_user)]
SignedIn = Annotated[User, Depends(signed_in)]
Admin = Annotated[User, Depends(an_admin)]
Paging = Annotated[Page, Depends()]


def as_json(made: Mapping[str, Any], status: int = 200) -> Response:
    """An answer; numbers in it are finite."""
    return Response(render(made), status_code=status, media_type="application/json")


def render(made: Mapping[str, Any]) -> bytes:
    """JSON as bytes."""
    return json.dumps(made, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")


def is_finite(value: float | None) -> bool:
    """Whether a number, if there is one, can stand in JSON."""
    return value is None or math.isfinite(value)
