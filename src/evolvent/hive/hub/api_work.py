"""Routes of the workers: lease a measurement, say that it is being worked on, hand in what was measured."""

from __future__ import annotations

import asyncio
import io
import tarfile
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from evolvent.hive.hub.asking import SignedIn, TheHub, as_json
from evolvent.hive.hub.hub import Hub
from evolvent.hive.hub.identity import User
from evolvent.hive.hub.jobs import beat, count_jobs, is_any_free, take_back
from evolvent.hive.hub.orders import next_order
from evolvent.hive.hub.refusals import Refused
from evolvent.hive.hub.scores import give_up, settle
from evolvent.hive.hub.words import Line

MAX_WAIT_S, LOOK_EVERY_S = 20.0, 0.25


def a_worker(user: SignedIn) -> User:
    """Somebody who may measure: they see what is sealed."""
    if user.role not in ("worker", "admin"):
        raise Refused(403, "only workers may do this", got=f"a key of role {user.role}")
    return user


router = APIRouter(prefix="/work", tags=["work"], dependencies=[Depends(a_worker)])
JobId = Annotated[int, Path(ge=0, le=2**62)]


class Wanting(BaseModel):
    """A worker that has nothing to do."""

    worker: Line = "worker"
    wait_s: float = Field(default=0.0, ge=0, le=MAX_WAIT_S)


class Held(BaseModel):
    """A job that a worker holds."""

    lease: Line


class Finished(Held):
    """A job that was measured: a report for the artifact, and one for the incumbent of a comparison."""

    reports: list[dict[str, Any]] = Field(min_length=1, max_length=2)


class Failed(Held):
    """A job that could not be measured."""

    error: str = Field(max_length=20_000)
    is_retryable: bool = True


@router.post("/lease", responses={204: {"description": "nothing waits"}})
async def lease(hub: TheHub, request: Request, wanting: Wanting) -> Response:
    """The next measurement; 204 where none came up while the worker waited."""
    until, is_ending = time.monotonic() + wanting.wait_s, request.app.state.is_ending
    while (order := await run_in_threadpool(_look, hub, wanting.worker)) is None:
        if time.monotonic() + LOOK_EVERY_S > until or is_ending.is_set():
            return Response(status_code=204)
        try:
            await asyncio.sleep(LOOK_EVERY_S)
        except asyncio.CancelledError:  # the server is ending; nothing is leased
            return Response(status_code=204)
    return as_json({"job": order})


def _look(hub: Hub, worker: str) -> dict[str, Any] | None:
    with hub.database.read() as connection:
        if not is_any_free(connection):
            return None
    with hub.database.write() as connection:
        return next_order(hub, connection, worker)


@router.post("/{job_id}/beat")
def keep(hub: TheHub, job_id: JobId, held: Held) -> Response:
    """The worker is still at it."""
    with hub.database.write() as connection:
        beat(connection, job_id, held.lease, hub.settings.lease_s)
    return as_json({"lease_s": hub.settings.lease_s})


@router.post("/{job_id}/finish")
def finish(hub: TheHub, job_id: JobId, finished: Finished) -> Response:
    """Hand in what was measured; it is written into the record once, or refused."""
    with hub.database.write() as connection:
        settle(hub, connection, take_back(connection, job_id, finished.lease), finished.reports)
    return as_json({"settled": True})


@router.post("/{job_id}/fail")
def fail(hub: TheHub, job_id: JobId, failed: Failed) -> Response:
    """Give a job back that could not be measured."""
    with hub.database.write() as connection:
        give_up(
            hub, connection, take_back(connection, job_id, failed.lease), failed.error, is_retryable=failed.is_retryable
        )
    return as_json({"settled": False})


@router.get("/tasks/{digest}")
def fetch_task(hub: TheHub, digest: Annotated[str, Path(pattern="^[0-9a-f]{64}$")]) -> Response:
    """A whole task as a tar file; its digest says whether it arrived as it was."""
    task, packed = hub.shelf.take(digest), io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, data in sorted(task.files.items()):
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return Response(packed.getvalue(), media_type="application/x-tar")


@router.get("/jobs")
def jobs(hub: TheHub) -> Response:
    """How many jobs wait, are leased, done, dead."""
    with hub.database.read() as connection:
        return as_json(count_jobs(connection))
