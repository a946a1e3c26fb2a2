"""Starts, restarts and ends the agents of a swarm: each a process of its own session, known by number and start.

Nothing stays behind to watch them. What a command was doing when it was killed, the next one mends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evolvent.errors import BadInput, EvolventError, InfrastructureError
from evolvent.hive.agents.client import HubClient
from evolvent.hive.agents.files import remove_tree
from evolvent.hive.agents.keys import Key, keep_key, read_key
from evolvent.hive.agents.process import LOG_BYTES, MARK, end_all, find_marked
from evolvent.hive.agents.swarm_state import EXIT, KEY, LOG, Cell, State, Swarm, forget_swarm, keep_swarm, read_start
from evolvent.hive.hub.refusals import Refused
from evolvent.store.atomic import disk_errors_at

MEMBER = "EVOLVENT_HIVE_MEMBER"  # in the environment of an agent's own process, and of nothing that it starts
MAX_AGENTS = 50
GRACE_S, POLL_S = 10.0, 0.05
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Door:
    """How the agents of a swarm become known to the hub: a client of it, a prefix of names, an invitation."""

    client: HubClient
    prefix: str | None = None
    invite: str | None = None


def raise_swarm(swarm: Swarm, num: int, door: Door, stagger_s: float, tell: Tell) -> Swarm:
    """`num` agents at work: the living are left alone, the dead are started again, missing ones are registered.

    Every step is written down before the next one, so that a command that is killed half-way is mended by the next.
    """
    if not 1 <= num <= MAX_AGENTS:
        raise BadInput("so many agents cannot be started", where="num", got=num, wanted=f"1 to {MAX_AGENTS}")
    if not swarm.cells:
        door.client.task(swarm.task)  # a name that is wrong registers nobody
    keep_swarm(swarm)  # a full disk is found here, before anybody is registered
    swarm = _register(swarm, num - len(swarm.cells), door, tell)
    num_started = 0
    for cell in swarm.cells[:num]:
        if cell.is_alive:
            continue
        if num_started and stagger_s > 0:
            time.sleep(stagger_s)
        again = "started" if cell.state is State.NEW else f"was {cell.state}, started again"
        begun = _adopt(cell) or _start(swarm, cell)
        swarm = swarm.with_cell(begun)
        keep_swarm(swarm)
        tell(f"{cell.agent}: {again}, process {begun.pid}")
        num_started += 1
    return swarm


def stop_cells(swarm: Swarm, agents: Sequence[str], grace_s: float, tell: Tell) -> Swarm:
    """Ask these agents to end, all at once, and end those that have not after the grace, with all that they started."""
    cells = [swarm.find(agent) for agent in agents]
    alive = [cell for cell in cells if cell.is_alive]
    for cell in alive:
        with suppress(ProcessLookupError):
            os.kill(cell.pid, signal.SIGTERM)
    until = time.monotonic() + grace_s
    while any(cell.is_alive for cell in alive) and time.monotonic() < until:
        time.sleep(POLL_S)
    for cell in cells:
        how = "ended" if cell in alive and not cell.is_alive else "killed" if cell in alive else "was not at work"
        _clear(cell)
        swarm = swarm.with_cell(replace(cell, is_stopped=True))
        keep_swarm(swarm)
        tell(f"{cell.agent}: {how}")
    return swarm


def drop_cells(swarm: Swarm, clean: bool, tell: Tell) -> list[str]:
    """Make the tokens of stopped agents worthless, and with `clean` remove their folders; those that still have one."""
    left = []
    for cell in swarm.cells:
        try:
            _revoke(swarm.hub, cell)
        except EvolventError as error:
            left.append(cell.agent)
            tell(f"{cell.agent}: its token is still good ({error.what})")
            continue
        if clean:
            remove_tree(cell.path)
    if not left:
        forget_swarm(Path(swarm.folder))
    return left


def read_tail(path: Path, num: int, max_bytes: int = 65536) -> list[str]:
    """The last lines of a file that may be long, or not there."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - max_bytes))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    return lines[1:][-num:] if size > max_bytes else lines[-num:]


def count_runs(client: HubClient, task: str) -> Mapping[str, Mapping[str, Any]]:
    """By agent, what the hub has of it: `total_runs`, `best_score`, `improvements`."""
    return {row["agent_id"]: row for row in client.contributors(task)}


# ---------------------------------------------------------------- to the hub and back


def _register(swarm: Swarm, num: int, door: Door, tell: Tell) -> Swarm:
    if num <= 0:
        return swarm
    made = door.client.register_batch(num, door.prefix, door.invite)
    for one in made:  # first of all: a token that is lost is lost for good
        cell = Cell(one["id"], str(Path(swarm.folder) / one["id"]))
        keep_key(cell.path / KEY, Key(one["id"], one["token"]))
        swarm = swarm.with_cell(cell)
    keep_swarm(swarm)
    tell(f"registered {', '.join(one['id'] for one in made)}")
    return swarm


def _revoke(hub: str, cell: Cell) -> None:
    """Take a new token for the agent and forget it: the old one is worth nothing, and nobody has the new one."""
    key = read_key(cell.path / KEY)
    if key is None:
        return
    try:
        with HubClient(hub, token=key.token, patience_s=5.0) as client:
            client.renew_token()
    except Refused as error:
        if error.status != 401:  # which says that it is worth nothing already
            raise
    (cell.path / KEY).unlink()


# ---------------------------------------------------------------- processes


def _start(swarm: Swarm, cell: Cell) -> Cell:
    """A new process for a cell, once nothing of the last one is left."""
    _clear(cell)
    with disk_errors_at(cell.path):
        cell.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        (cell.path / EXIT).unlink(missing_ok=True)
        log = cell.path / LOG
        if log.exists() and log.stat().st_size > LOG_BYTES // 2:
            log.replace(log.with_name(log.name + ".1"))
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    marks = {MARK: cell.folder, MEMBER: cell.folder, "PYTHONUNBUFFERED": "1"}
    try:
        process = subprocess.Popen(
            member_words(swarm, cell), cwd=swarm.cwd, env={**os.environ, **marks}, stdin=subprocess.DEVNULL,
            stdout=handle, stderr=handle, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise InfrastructureError("an agent could not be started", where=cell.agent, got=str(error)) from error
    finally:
        os.close(handle)
    return replace(cell, pid=process.pid, start=read_start(process.pid), began_at=time.time(), is_stopped=False)


def member_words(swarm: Swarm, cell: Cell) -> list[str]:
    """The command line of an agent's own process."""
    boot = "from evolvent.cli.hive_member import main; main()"
    fields = {"hub": swarm.hub, "name": cell.agent, "agent": swarm.agent, "folder": cell.folder, **swarm.fields}
    return [sys.executable, "-c", boot, swarm.task, *(f"{name}={value}" for name, value in fields.items())]


def _adopt(cell: Cell) -> Cell | None:
    """The cell with a process that was started for it by a command that could not write that down any more."""
    import psutil

    for one in find_marked(cell.path):
        with suppress(psutil.Error):
            if one.environ().get(MEMBER) == cell.folder and (start := read_start(one.pid)):
                return replace(cell, pid=one.pid, start=start, began_at=one.create_time(), is_stopped=False)
    return None


def _clear(cell: Cell) -> None:
    """End whatever is left of a cell: what it started knows its mark, wherever it hangs by now."""
    if left := find_marked(cell.path):
        end_all(left, grace_s=0.2)
