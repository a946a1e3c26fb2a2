"""Who speaks: agents by token, people by key. Only hashes are kept, and a name is never a token."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from evolvent.errors import BadInput
from evolvent.hive.hub.events import record
from evolvent.hive.hub.refusals import Refused, missing
from evolvent.hive.hub.schema import agents, invites, users
from evolvent.hive.hub.times import now
from evolvent.hive.paths import check_agent

ROLES = ("admin", "owner", "worker", "user")
HOUSE = "hub"  # the agent in whose name the hub measures baselines; nobody can speak as it
RESERVED = (HOUSE, "admin", "none", "system")
MAX_BATCH = 50
SEEN_EVERY_S = 60
_BY_TOKEN = select(agents).where(agents.c.token_hash == bindparam("hash"), agents.c.revoked_at.is_(None))
_WORDS = [
    "amber", "arctic", "brave", "bright", "calm", "clever", "coral", "cosmic", "crisp", "daring", "eager", "early",
    "fleet", "gentle", "golden", "humble", "ivory", "jolly", "keen", "lively", "lucid", "mellow", "misty", "noble",
    "olive", "patient", "plain", "proud", "quick", "quiet", "rapid", "royal", "rustic", "silent", "silver", "solar",
    "steady", "sunny", "swift", "tidy", "vivid", "warm", "wild", "wise",
]  # fmt: skip
_BEASTS = [
    "ant", "badger", "bear", "bee", "bison", "crane", "crow", "deer", "dove", "eagle", "elk", "falcon", "finch",
    "fox", "gecko", "goose", "hare", "hawk", "heron", "ibex", "jay", "koala", "lark", "lemur", "lion", "lynx",
    "mole", "moth", "newt", "otter", "owl", "panda", "puma", "quail", "raven", "robin", "seal", "shrew", "stork",
    "swan", "tapir", "tern", "toad", "viper", "wasp", "whale", "wolf", "wren", "yak",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class User:
    """A person or a machine of theirs with a key."""

    id: int
    name: str
    role: str

    @property
    def is_admin(self) -> bool:
        """Whether everything is allowed."""
        return self.role == "admin"


def register(connection: Connection, name: str | None = None) -> tuple[str, str]:
    """A new agent and its token, which is not kept and cannot be shown again."""
    agent = check_agent(name) if name else _free_name(connection)
    if agent in RESERVED:
        raise Refused(409, f"the name {agent!r} is reserved", where="name")
    token, at = "ha_" + secrets.token_urlsafe(32), now()
    row = {"id": agent, "token_hash": hash_secret(token), "registered_at": at, "last_seen_at": at}
    try:
        with connection.begin_nested():
            connection.execute(insert(agents).values(row))
    except IntegrityError:
        raise Refused(409, f"the name {agent!r} is taken", where="name", cure="take another") from None
    record(connection, "agent", agent=agent)
    return agent, token


def register_batch(connection: Connection, num: int, prefix: str | None = None) -> list[tuple[str, str]]:
    """Several agents at once, named PREFIX-1 and so on; all or none."""
    if isinstance(num, bool) or not isinstance(num, int) or not 1 <= num <= MAX_BATCH:
        raise BadInput("no number of agents", where="count", got=num, wanted=f"1 to {MAX_BATCH}")
    return [register(connection, f"{prefix}-{i + 1}" if prefix else None) for i in range(num)]


def ensure_house(connection: Connection) -> None:
    """Make the agent in whose name baselines are measured."""
    if connection.execute(select(agents.c.id).where(agents.c.id == HOUSE)).first() is None:
        at = now()
        connection.execute(insert(agents).values(id=HOUSE, registered_at=at, last_seen_at=at))


def find_agent(connection: Connection, token: str) -> RowMapping | None:
    """The agent whose token this is, unless it was revoked."""
    return connection.execute(_BY_TOKEN, {"hash": hash_secret(token)}).mappings().first()


def renew_token(connection: Connection, agent: str) -> str:
    """A new token; the old one is worth nothing from now on."""
    token = "ha_" + secrets.token_urlsafe(32)
    connection.execute(update(agents).where(agents.c.id == agent).values(token_hash=hash_secret(token)))
    record(connection, "token", agent=agent, data={"what": "renewed"})
    return token


def revoke_agent(connection: Connection, agent: str, by: int | None = None) -> None:
    """End an agent: its runs stay, its token is worth nothing."""
    done = connection.execute(update(agents).where(agents.c.id == agent, agents.c.id != HOUSE).values(revoked_at=now()))
    if not done.rowcount:
        raise missing("agent", agent)
    record(connection, "token", agent=agent, user=by, data={"what": "revoked"})


def add_user(connection: Connection, name: str, role: str) -> str:
    """A user's key, which is not kept and cannot be shown again."""
    if role not in ROLES:
        raise BadInput("no such role", where="role", got=role, wanted=" | ".join(ROLES))
    if not name.strip() or len(name) > 80:
        raise BadInput("no name of a user", where="name", got=ascii(name)[:80], wanted="1 to 80 characters")
    key = "hive_" + secrets.token_urlsafe(32)
    row = {"name": name, "role": role, "key_hash": hash_secret(key), "created_at": now()}
    try:
        with connection.begin_nested():
            number = connection.execute(insert(users).values(row).returning(users.c.id)).scalar_one()
    except IntegrityError:
        raise Refused(409, f"there is a user {name!r} already", where="name") from None
    record(connection, "user", user=number, data={"name": name, "role": role})
    return key


def find_user(connection: Connection, key: str) -> User | None:
    """The user whose key this is, unless it was revoked."""
    asked = select(users.c.id, users.c.name, users.c.role)
    row = connection.execute(asked.where(users.c.key_hash == hash_secret(key), users.c.revoked_at.is_(None))).first()
    return User(*row) if row else None


def revoke_user(connection: Connection, name: str) -> None:
    """End a user's key."""
    if not connection.execute(update(users).where(users.c.name == name).values(revoked_at=now())).rowcount:
        raise missing("user", name)
    record(connection, "user", data={"name": name, "what": "revoked"})


def adopt(connection: Connection, user: User, token: str) -> tuple[str, str]:
    """Give the agent with this token to a user: its name, and "claimed" or "already_claimed"."""
    found = find_agent(connection, token)
    if found is None:
        raise Refused(404, "no agent has this token", where="token")
    if found["user_id"] is not None and found["user_id"] != user.id:
        raise Refused(409, "this agent is somebody else's", where=found["id"])
    if found["user_id"] == user.id:
        return found["id"], "already_claimed"
    connection.execute(update(agents).where(agents.c.id == found["id"]).values(user_id=user.id))
    record(connection, "user", user=user.id, agent=found["id"], data={"what": "adopted"})
    return found["id"], "claimed"


def agents_of(connection: Connection, user: User) -> list[dict[str, Any]]:
    """The agents of a user."""
    asked = select(agents.c.id, agents.c.num_runs, agents.c.last_seen_at).where(agents.c.user_id == user.id)
    return [
        {"id": row.id, "total_runs": row.num_runs, "last_seen_at": row.last_seen_at}
        for row in connection.execute(asked.order_by(agents.c.id))
    ]


def invite(connection: Connection, num_uses: int = 1) -> str:
    """A code that lets so many agents register where registration is by invitation."""
    if not 1 <= num_uses <= 10_000:
        raise BadInput("no number of uses", where="uses", got=num_uses, wanted="1 to 10000")
    code = "hi_" + secrets.token_urlsafe(16)
    connection.execute(insert(invites).values(code_hash=hash_secret(code), uses_left=num_uses, created_at=now()))
    record(connection, "invite", data={"uses": num_uses})
    return code


def use_invite(connection: Connection, code: str | None, num: int) -> None:
    """Take uses of a code; Refused where it is unknown or used up."""
    left = invites.c.uses_left
    taken = (
        update(invites).where(invites.c.code_hash == hash_secret(code or ""), left >= num).values(uses_left=left - num)
    )
    if not connection.execute(taken).rowcount:
        raise Refused(
            403, "registration is by invitation", where="invite", got="no code that is good", cure="ask for a code"
        )


def hash_secret(secret: str) -> str:
    """SHA-256: enough for what was drawn from 256 bits, and quick on every request."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _free_name(connection: Connection) -> str:
    for _ in range(100):
        name = f"{secrets.choice(_WORDS)}-{secrets.choice(_BEASTS)}-{secrets.randbelow(1000)}"
        if connection.execute(select(agents.c.id).where(agents.c.id == name)).first() is None:
            return name
    raise Refused(409, "no free name was found", cure="give one as preferred_name")
