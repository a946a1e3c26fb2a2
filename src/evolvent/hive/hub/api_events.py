"""Routes of what happens: the stream of activity, numbers of the whole hub, metrics."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from evolvent.hive.hub.asking import Admin, TheHub, as_json
from evolvent.hive.hub.context import count_all
from evolvent.hive.hub.events import read_events
from evolvent.hive.hub.hub import Hub
from evolvent.hive.hub.jobs import count_jobs
from evolvent.hive.hub.refusals import Refused

router = APIRouter(tags=["activity"])
LOOK_EVERY_S, LOOK_ANYWAY_S, SIGN_EVERY_S, MAX_STREAMS = 0.5, 2.0, 15.0, 200
After = Annotated[int, Query(ge=0, le=2**62)]


@router.get("/events", response_class=StreamingResponse)
async def follow(
    hub: TheHub,
    request: Request,
    task: Annotated[str | None, Query(max_length=40)] = None,
    after: After = 0,
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    """What happens, as it happens, as server-sent events; `after` or Last-Event-ID say where to go on."""
    if last_event_id and last_event_id.isdecimal() and len(last_event_id) < 19:
        after = int(last_event_id)
    open_streams: set[object] = request.app.state.streams
    if len(open_streams) >= MAX_STREAMS:
        raise Refused(503, "too many follow what happens", cure="come again, or ask /api/activity", retry_after_s=30)
    stream = _follow(hub, request, task, after)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _follow(hub: Hub, request: Request, task: str | None, after: int) -> AsyncIterator[str]:
    mark, streams, is_ending = object(), request.app.state.streams, request.app.state.is_ending
    quiet_s, unseen_s, writes = 0.0, 0.0, -1
    found: list[dict[str, Any]] = []
    streams.add(mark)
    try:
        yield ": hello\n\n"
        while not is_ending.is_set() and not await request.is_disconnected():
            # there may be more than one look shows, and other processes write too
            is_due = bool(found) or hub.database.num_writes != writes or unseen_s >= LOOK_ANYWAY_S
            writes, unseen_s = hub.database.num_writes, 0.0 if is_due else unseen_s
            found = await run_in_threadpool(_read, hub, task, after) if is_due else []
            for one in found:
                after = one["id"]
                yield f"id: {one['id']}\nevent: {one['kind']}\ndata: {json.dumps(one, ensure_ascii=False)}\n\n"
            quiet_s, unseen_s = 0.0 if found else quiet_s + LOOK_EVERY_S, unseen_s + LOOK_EVERY_S
            if quiet_s >= SIGN_EVERY_S:
                quiet_s = 0.0
                yield ": still here\n\n"
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        streams.discard(mark)


def _read(hub: Hub, task: str | None, after: int) -> list[dict[str, Any]]:
    with hub.database.read() as connection:
        return read_events(connection, after, task=task)


@router.get("/activity")
def activity(
    hub: TheHub,
    task: Annotated[str | None, Query(max_length=40)] = None,
    after: After = 0,
    most: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> Response:
    """The events after a number, in order."""
    with hub.database.read() as connection:
        return as_json({"events": read_events(connection, after, task=task, most=most)})


@router.get("/audit")
def audit(hub: TheHub, _: Admin, after: After = 0, most: Annotated[int, Query(ge=1, le=1000)] = 200) -> Response:
    """All events, those of tokens, keys and invitations too."""
    with hub.database.read() as connection:
        return as_json({"events": read_events(connection, after, most=most, with_private=True)})


@router.get("/stats")
def stats(hub: TheHub) -> Response:
    """How many agents, tasks and runs there are."""
    with hub.database.read() as connection:
        return as_json(count_all(connection))


@router.get("/health")
def health(hub: TheHub) -> Response:
    """Whether the server and its database answer."""
    with hub.database.read() as connection:
        count_jobs(connection)
    return as_json({"status": "ok"})


@router.get("/metrics")
def metrics(hub: TheHub, request: Request) -> Response:
    """Numbers of the server in Prometheus' form."""
    with hub.database.read() as connection:
        jobs, all_of_it = count_jobs(connection), count_all(connection)
    lines = ["# TYPE hive_jobs gauge"]
    lines += [f'hive_jobs{{state="{state}"}} {jobs.get(state, 0)}' for state in ("waiting", "leased", "done", "dead")]
    for name, num in all_of_it.items():
        lines += [f"# TYPE hive_{name} gauge", f"hive_{name} {num}"]
    lines += ["# TYPE hive_streams gauge", f"hive_streams {len(request.app.state.streams)}"]
    meters: Any = request.app.state.meters
    return Response(meters.text() + "\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")
