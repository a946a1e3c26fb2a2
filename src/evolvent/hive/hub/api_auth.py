"""Routes of identity: agents register and renew their tokens, people see and adopt theirs, admins invite and revoke."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import Connection, select

from evolvent.hive.hub.asking import Admin, Agent, Paging, SignedIn, TheHub, address_of, as_json
from evolvent.hive.hub.hub import Hub, Registration
from evolvent.hive.hub.identity import (
    HOUSE,
    add_user,
    adopt,
    agents_of,
    invite,
    register,
    register_batch,
    renew_token,
    revoke_agent,
    revoke_user,
    use_invite,
)
from evolvent.hive.hub.refusals import Refused, missing
from evolvent.hive.hub.schema import agents, users
from evolvent.hive.hub.times import now
from evolvent.hive.hub.words import Line

router = APIRouter(tags=["identity"])
Name = Annotated[str, Path(max_length=80)]


class Newcomer(BaseModel):
    """An agent that registers, under this name or one that is found."""

    preferred_name: Line | None = None
    invite: Line | None = None


class Newcomers(BaseModel):
    """Several agents that register together."""

    count: int = Field(default=1, ge=1, le=50)
    prefix: Line | None = None
    invite: Line | None = None


class NewUser(BaseModel):
    """Somebody who gets a key."""

    name: Line
    role: Line = "user"


class Invitation(BaseModel):
    """How many agents may register with a code."""

    uses: int = Field(default=1, ge=1, le=10_000)


class Token(BaseModel):
    """The token of an agent."""

    token: Line


@router.post("/register", status_code=201)
def register_one(hub: TheHub, request: Request, said: Newcomer | None = None) -> Response:
    """A new agent; its token is shown here and never again."""
    said = said or Newcomer()
    hub.limits.spend("register", address_of(request))
    with hub.database.write() as connection:
        _admit(hub, connection, said.invite, 1)
        name, token = register(connection, said.preferred_name)
    return as_json({"id": name, "token": token, "registered_at": now()}, 201)


@router.post("/register/batch", status_code=201)
def register_many(hub: TheHub, request: Request, said: Newcomers) -> Response:
    """Several new agents, all or none."""
    for _ in range(said.count):
        hub.limits.spend("register", address_of(request))
    with hub.database.write() as connection:
        _admit(hub, connection, said.invite, said.count)
        made = register_batch(connection, said.count, said.prefix)
    return as_json({"agents": [{"id": name, "token": token} for name, token in made]}, 201)


@router.get("/auth/me")
def me(hub: TheHub, user: SignedIn) -> Response:
    """Who a key belongs to, and its agents."""
    with hub.database.read() as connection:
        mine = agents_of(connection, user)
    return as_json({"id": user.id, "email": user.name, "name": user.name, "role": user.role, "agents": mine})


@router.post("/auth/claim")
def claim(hub: TheHub, user: SignedIn, said: Token) -> Response:
    """Adopt the agent with this token."""
    with hub.database.write() as connection:
        agent, status = adopt(connection, user, said.token)
    return as_json({"agent_id": agent, "status": status})


@router.get("/agents")
def list_agents(hub: TheHub, page: Paging) -> Response:
    """The agents, the last seen first; the hub itself is none."""
    columns = (agents.c.id, agents.c.registered_at, agents.c.last_seen_at, agents.c.num_runs)
    asked = select(*columns).where(agents.c.revoked_at.is_(None), agents.c.id != HOUSE)
    asked = asked.order_by(agents.c.last_seen_at.desc(), agents.c.id)
    with hub.database.read() as connection:
        rows = connection.execute(asked.limit(page.most).offset(page.offset)).mappings().all()
    return as_json(page.tell("agents", [dict(row) | {"total_runs": row["num_runs"]} for row in rows]))


@router.post("/agents/token")
def renew(hub: TheHub, agent: Agent) -> Response:
    """A new token for the agent that asks; the old one is worth nothing from now on."""
    with hub.database.write() as connection:
        return as_json({"id": agent, "token": renew_token(connection, agent)})


@router.delete("/agents/{agent_id}", status_code=204)
def revoke(hub: TheHub, user: SignedIn, agent_id: Name) -> Response:
    """End an agent; its runs stay."""
    with hub.database.write() as connection:
        owner = connection.execute(select(agents.c.user_id).where(agents.c.id == agent_id)).first()
        if owner is None:
            raise missing("agent", agent_id)
        if not user.is_admin and owner[0] != user.id:
            raise Refused(403, "only its owner or an admin may do this", where=agent_id)
        revoke_agent(connection, agent_id, user.id)
    return Response(status_code=204)


@router.post("/users", status_code=201)
def new_user(hub: TheHub, _: Admin, said: NewUser) -> Response:
    """A key for somebody; it is shown here and never again."""
    with hub.database.write() as connection:
        return as_json({"name": said.name, "role": said.role, "key": add_user(connection, said.name, said.role)}, 201)


@router.get("/users")
def list_users(hub: TheHub, _: Admin) -> Response:
    """Everybody who has a key."""
    columns = (users.c.name, users.c.role, users.c.created_at, users.c.revoked_at)
    with hub.database.read() as connection:
        return as_json({"users": [dict(row) for row in connection.execute(select(*columns)).mappings()]})


@router.delete("/users/{name}", status_code=204)
def end_user(hub: TheHub, _: Admin, name: Name) -> Response:
    """End a key."""
    with hub.database.write() as connection:
        revoke_user(connection, name)
    return Response(status_code=204)


@router.post("/invites", status_code=201)
def new_invite(hub: TheHub, _: Admin, said: Invitation) -> Response:
    """A code with which agents may register where that is by invitation."""
    with hub.database.write() as connection:
        return as_json({"invite": invite(connection, said.uses), "uses": said.uses}, 201)


def _admit(hub: Hub, connection: Connection, code: str | None, num: int) -> None:
    if hub.settings.registration is Registration.CLOSED:
        raise Refused(403, "nobody can register here", cure="ask an admin for a token")
    if hub.settings.registration is Registration.INVITED:
        use_invite(connection, code, num)
