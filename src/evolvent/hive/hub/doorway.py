"""Whom a hub answers, and how much each may send: pages of other sites reach it through the browsers of its users."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers

from evolvent.hive.hub.asking import calling_user
from evolvent.hive.hub.refusals import Refused

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_BODY_BYTES = 2**20
MAX_ARCHIVE_BYTES, MAX_RESULT_BYTES = 300 * 2**20, 64 * 2**20
# where more may be sent, by whom
ROOMS = (("/api/tasks", ("admin", "owner"), MAX_ARCHIVE_BYTES), ("/api/work/", ("admin", "worker"), MAX_RESULT_BYTES))


def complain(method: str, headers: Headers, hosts: Collection[str]) -> str:
    """Why a request is not answered; nothing where it is. `hosts` are the names of this hub, where they are known."""
    host, origin = headers.get("host", ""), headers.get("origin")
    if hosts and _name(host) not in hosts:
        # a name of somebody's own that leads to this machine would make the hub a part of their site
        return f"this hub is not called {ascii(host)[:80]}; public_url=URL tells it another name"
    if origin is None or method in SAFE:
        return ""
    at = origin.partition("://")[2]
    is_ours = at == host or (bool(hosts) and _name(at) in hosts)
    return "" if is_ours else "a page of another site may read here, and change nothing"


def room_for(request: Request) -> int:
    """How many bytes a request may have: much only from those who bring tasks and results."""
    path = request.url.path
    for start, roles, most in ROOMS:
        if path == start or (start.endswith("/") and path.startswith(start)):
            return most if _role(request) in roles else MAX_BODY_BYTES
    return MAX_BODY_BYTES


def _role(request: Request) -> str:
    try:
        user = calling_user(request)
    except Refused:
        return ""
    return user.role if user else ""


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
