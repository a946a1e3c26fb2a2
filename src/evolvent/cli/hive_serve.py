"""`evolvent hive serve`: a hub with its pages and its own workers, until Ctrl-C."""

from __future__ import annotations

import json
import math
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from evolvent.cli.main import Command, refuse_fields
from evolvent.cli.screen import Screen
from evolvent.errors import BadInput, EvolventError, StoreError, nearest
from evolvent.store.folder import hold

if TYPE_CHECKING:
    from evolvent.hive.hub.hub import Hub, Settings

FIELDS = (
    "home",
    "database",
    "tasks",
    "workers",
    "registration",
    "host",
    "public_url",
    "alpha",
    "lease_s",
    "max_looks",
    "max_attempts",
)
GRACE_S, WATCH_S = 0.5, 2.0
PARENT_VARIABLE = "EVOLVENT_HIVE_PARENT"  # the process that a worker belongs to
TERMINATED = 143  # as a shell counts a process that SIGTERM ended
OWN = "own-"  # begins the names of the workers that a hub starts
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main(command: Command, words: tuple[str, ...]) -> dict[str, Any]:
    """Serve; with --json the address is the one line on stdout, printed once the port is open."""
    from evolvent.serve.door import serve_app

    if words:
        raise BadInput(
            "serve takes fields alone",
            where="evolvent hive serve",
            got=words[0],
            wanted="field=value",
            cure="tasks=golf",
        )
    refuse_fields(command, FIELDS)
    screen, fields = Screen(as_json=command.json), command.fields
    host, workers = fields.get("host", "127.0.0.1"), whole(fields, "workers", 1)
    if host not in LOOPBACK and "registration" not in fields:
        cure = "say registration=invited, or registration=open if anybody may come"
        raise BadInput("other machines would be let in", where="host", got=host, cure=cure)
    names = [name for name in fields.get("tasks", "").split(",") if name]
    for name in names:  # before a folder is made for nothing
        find_task(name, 0)
    hub = open_home(fields)

    def announce(port: int) -> None:
        url = f"http://{host if host in LOOPBACK else '127.0.0.1'}:{port}"
        if command.json:
            print(json.dumps({"url": url, "home": str(hub.home)}), flush=True)
        say_where(screen, hub, url, keys)
        started.extend(start_workers(hub, url, workers))

    started: list[subprocess.Popen[bytes]] = []
    # uvicorn raises a signal once more when it has closed: workers have to be ended before this process is
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    with alone(hub), ended(started), kept_at_work(hub, started, screen):
        keys = keep_keys(hub)
        open_tasks(hub, names, screen)
        is_proxied = bool(hub.settings.public_url)
        serve_app(build_app(hub), port=command.port, host=host, announce=announce, is_proxied=is_proxied)
    screen.say("closed; nothing is lost: the same command goes on")
    return {}


def open_home(fields: Mapping[str, str]) -> Hub:
    """The hub that the fields describe."""
    from evolvent.hive.hub.hub import open_hub

    home, settings = fields.get("home", "hive"), read_settings(fields)
    try:
        return open_hub(home, fields.get("database"), settings)
    except EvolventError:
        raise
    except OSError as error:
        cure = "name another home=FOLDER, one that you may write"
        raise StoreError("a hub cannot be kept there", where=home, got=error.strerror, cure=cure) from None


@contextmanager
def alone(hub: Hub) -> Iterator[None]:
    """Hold a hub's folder, so that no second server works in it; what workers of before held is free again."""
    with ExitStack() as held:
        held.callback(hub.close)
        try:
            held.enter_context(hold(hub.home / "lock"))
        except StoreError as error:
            cure = "end that one first, or name another home=FOLDER"
            raise StoreError("a hub is open in this folder", where=str(hub.home), got=error.what, cure=cure) from None
        free_leases(hub, f"{OWN}%")
        yield


def free_leases(hub: Hub, name: str) -> None:
    """Let others have what the workers of these names were measuring."""
    from sqlalchemy import update

    from evolvent.hive.hub.schema import jobs
    from evolvent.hive.hub.times import now

    lost = update(jobs).where(jobs.c.state == "leased", jobs.c.worker.like(name)).values(lease_until=now())
    with hub.database.write() as connection:
        connection.execute(lost)


def read_settings(fields: Mapping[str, str]) -> Settings:
    """How the hub behaves."""
    from evolvent.hive.hub.hub import Registration, Settings
    from evolvent.hive.noise import KeepRule

    said = fields.get("registration", "open")
    if said not in list(Registration):
        cure = nearest(said, [one.value for one in Registration])
        raise BadInput("no such registration", where="registration", got=said, wanted="open|invited|closed", cure=cure)
    public_url, host = fields.get("public_url", ""), fields.get("host", "127.0.0.1")
    return Settings(
        registration=Registration(said),
        public_url=public_url,
        hosts=(*LOOPBACK, urlsplit(public_url).hostname or "") if host in LOOPBACK else (),
        rule=KeepRule(number(fields, "alpha", 0.05)),
        lease_s=number(fields, "lease_s", 60.0),
        max_looks=whole(fields, "max_looks", 5),
        max_attempts=max(1, whole(fields, "max_attempts", 5)),
    )


def build_app(hub: Hub) -> Any:
    """The app of a hub, with its pages."""
    from evolvent.dashboard import mount_pages
    from evolvent.hive.hub.app import make_app

    app = make_app(hub)
    mount_pages(app, hub)
    return app


def keep_keys(hub: Hub) -> dict[str, Path]:
    """The key files of the admin and of the hub's own workers, made once; whoever reads this folder owns the hub."""
    from evolvent.hive.hub.identity import add_user

    kept = {role: hub.home / f"{role}.key" for role in ("admin", "worker")}
    for role, path in kept.items():
        if path.exists():
            continue
        with hub.database.write() as connection:
            key = add_user(connection, f"{role} {secrets.token_hex(3)}", role)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(key + "\n")
    return kept


def open_tasks(hub: Hub, names: list[str], screen: Screen) -> None:
    """Open shipped tasks (under seeds of this hub's own) and tasks in folders."""
    from evolvent.hive.hub.tasks import open_task

    for name in names:
        task = find_task(name, hub.secret)
        open_task(hub, task)
        screen.say(f"open     {task.name}  {task.metric}, {task.direction.value}, {task.budget.evaluations} tries each")


def find_task(name: str, secret: int) -> Any:
    """A task of a folder as it is, or one that ships under fresh seeds."""
    from evolvent.hive.shipped import names as shipped_names
    from evolvent.hive.shipped import shipped
    from evolvent.hive.task_folder import read_task, reseal

    if name in shipped_names():
        return reseal(shipped(name), secret)
    if not Path(name).is_dir():
        cure = nearest(name, shipped_names())
        raise BadInput(
            "no task and no folder", where="tasks", got=name, wanted="a shipped task, or a folder", cure=cure
        )
    return read_task(name)


def start_workers(hub: Hub, url: str, num: int) -> list[subprocess.Popen[bytes]]:
    """Workers of this machine, each a process of its own."""
    if not num:
        return []
    words = ["hive", "work", f"hub={url}", f"key_file={hub.home / 'worker.key'}", f"home={hub.home / 'worker'}"]
    return [_start([sys.executable, "-m", "evolvent", *words, f"name={OWN}{i + 1}"]) for i in range(num)]


def _start(command: Any) -> subprocess.Popen[bytes]:
    own = os.environ | {PARENT_VARIABLE: str(os.getpid())}
    return subprocess.Popen(
        command, env=own, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    )


@contextmanager
def ended(processes: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """See to it that what was started ends with the block."""
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        until_s = time.monotonic() + GRACE_S
        for process in processes:  # the hub is closed: a result could not be handed in any more
            try:
                process.wait(timeout=max(0.0, until_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def kept_at_work(hub: Hub, processes: list[subprocess.Popen[bytes]], screen: Screen) -> Iterator[None]:
    """Start a worker again that ended by itself, and let others have what it was measuring."""
    from sqlalchemy.exc import SQLAlchemyError

    over = threading.Event()

    def watch() -> None:
        while not over.wait(WATCH_S):
            for at, process in enumerate(processes):
                if process.poll() is None or over.is_set():
                    continue
                name = f"{OWN}{at + 1}"
                try:
                    free_leases(hub, name)
                except (EvolventError, SQLAlchemyError):
                    continue  # the database is busy or away: in a moment
                screen.say(f"worker   {name} ended with {process.returncode}, and is started again")
                processes[at] = _start(process.args)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()


def say_where(screen: Screen, hub: Hub, url: str, keys: Mapping[str, Path]) -> None:
    """What a person needs to go on."""
    lines = [
        f"hub      {url}  (Ctrl-C ends it)",
        f"folder   {hub.home}  (database, repositories, sealed tasks: whoever reads it owns the hub)",
        f"admin    key_file={keys['admin']}",
        f"agents   evolvent hive join TASK hub={url} agent=hill_climb",
        f"client   HIVE_SERVER={url} hive task list   (hive-evolve 0.2)",
    ]
    for line in lines:
        screen.console.print(line, markup=False, soft_wrap=True)


def whole(fields: Mapping[str, str], name: str, default: int) -> int:
    """A whole number >= 0 of a field."""
    text = fields.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise BadInput("not a whole number", where=name, got=text, wanted=f"for example {default}")
    return int(text)


def number(fields: Mapping[str, str], name: str, default: float) -> float:
    """A number of a field."""
    try:
        found = float(fields.get(name, default))
    except ValueError:
        found = math.nan
    if not math.isfinite(found) or found <= 0:
        raise BadInput("not a number above 0", where=name, got=fields[name], wanted=f"for example {default:g}")
    return found
