"""The hub as a web app: the routes below /api, git below /git, and errors that say what to do."""

from __future__ import annotations

import math
import sqlite3
import threading

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException

from evolvent import __version__
from evolvent.errors import BadInput, InfrastructureError, StoreError, VerifierError
from evolvent.hive.hub import (
    api_auth,
    api_events,
    api_feed,
    api_items,
    api_runs,
    api_search,
    api_skills,
    api_tasks,
    api_work,
)
from evolvent.hive.hub.asking import as_json
from evolvent.hive.hub.front import Front, Meters
from evolvent.hive.hub.gate import git_app
from evolvent.hive.hub.hub import Hub
from evolvent.hive.hub.recent import Recent
from evolvent.hive.hub.refusals import Refused

# those that are asked most come first, since routes are tried in order
PARTS = (api_runs, api_feed, api_tasks, api_skills, api_items, api_search, api_work, api_events, api_auth)


def make_app(hub: Hub) -> FastAPI:
    """The app of a hub; pages can be mounted on it."""

    app = FastAPI(
        title="Evolvent hive", version=__version__, docs_url=None, redoc_url=None, openapi_url="/openapi.json"
    )
    app.state.hub, app.state.meters, app.state.is_ending = hub, Meters(), threading.Event()
    app.state.streams = set[object]()
    app.state.recent = Recent(lambda: hub.database.num_writes)
    app.add_middleware(Front, meters=app.state.meters, recent=app.state.recent, hosts=hub.settings.hosts)
    api = APIRouter(prefix="/api")
    for part in PARTS:
        api.include_router(part.router)
    app.include_router(api)
    app.add_api_route("/health", health, methods=["GET"], include_in_schema=False)
    app.mount("/git", git_app(hub))
    for kind in (BadInput, InfrastructureError, VerifierError, StoreError, DBAPIError):
        app.add_exception_handler(kind, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_shape)
    app.add_exception_handler(HTTPException, _answer_http)
    return app


def health() -> dict[str, str]:
    """Whether the server answers."""
    return {"status": "ok"}


async def _answer_error(_: Request, error: Exception) -> Response:
    if isinstance(error, Refused):
        response = as_json({"detail": str(error)}, error.status)
        if error.retry_after_s is not None:
            response.headers["Retry-After"] = str(math.ceil(error.retry_after_s))
        if error.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response
    if isinstance(error, BadInput):
        return as_json({"detail": str(error)}, 400)
    if isinstance(error, DBAPIError) and isinstance(error.orig, sqlite3.IntegrityError):
        return as_json({"detail": "this stands against something that is there already"}, 409)
    if isinstance(error, DBAPIError):
        return as_json({"detail": "the database of the hub does not answer; nothing was kept; try again"}, 503)
    return as_json({"detail": str(error)}, 503)


async def _answer_shape(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    words = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5])
    return as_json({"detail": words or "the request has another shape"}, 422)


async def _answer_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = as_json({"detail": str(error.detail)}, error.status_code)
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response
