"""`evolvent hive work`: measures for a hub, here or on a Ray cluster, until Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolvent.cli.hive_serve import PARENT_VARIABLE, whole
from evolvent.cli.main import Command, refuse_fields
from evolvent.cli.screen import Screen
from evolvent.cli.words import one_line
from evolvent.errors import BadInput, EvolventError, MissingExtra

if TYPE_CHECKING:
    from evolvent.hive.work import Done, Worker

FIELDS = ("hub", "key_file", "home", "name", "num", "on", "max_jobs")
PATIENCE_S = 2.0  # a person waits for an answer
KEY_VARIABLE = "EVOLVENT_HIVE_KEY"


def main(command: Command, words: tuple[str, ...]) -> dict[str, Any]:
    """Work until told to stop; a signal ends it after the measurement at hand, a second one at once."""
    if words:
        raise BadInput("work takes fields alone", where="evolvent hive work", got=words[0], wanted="hub=URL")
    refuse_fields(command, FIELDS)
    fields, screen = command.fields, Screen(as_json=command.json)
    on, most, num = fields.get("on", "local"), _most_jobs(fields), max(1, whole(fields, "num", 1))
    if on not in ("local", "ray"):
        raise BadInput("workers are local or on Ray", where="on", got=on, wanted="local | ray")
    url, key = hub_of(fields), read_key(fields)
    done = _on_ray(url, key, num, most) if on == "ray" else _here(fields, (url, key), (num, most), screen)
    screen.say(f"{done} measured")
    return {"measured": done}


def _most_jobs(fields: Mapping[str, str]) -> int | None:
    most = whole(fields, "max_jobs", 1) if "max_jobs" in fields else None
    if most == 0:
        raise BadInput("a worker that measures nothing", where="max_jobs", got="0", wanted="for example max_jobs=1")
    return most


def hub_of(fields: Mapping[str, str]) -> str:
    """The address of the hub that a command is about."""
    url = fields.get("hub", os.environ.get("EVOLVENT_HIVE") or os.environ.get("HIVE_SERVER", ""))
    if not url.startswith(("http://", "https://")) or not url.partition("://")[2].strip("/"):
        cure = "evolvent hive serve prints it; or export EVOLVENT_HIVE=URL"
        cure = f"did you mean http://{url}?" if url and "://" not in url else cure
        raise BadInput("which hub?", where="hub", got=url or "nothing", wanted="hub=http://HOST:PORT", cure=cure)
    return url


def read_key(fields: Mapping[str, str]) -> str:
    """The key of a user: of a file, or of the environment, where other users of the machine do not see it."""
    path = fields.get("key_file")
    if path is None:
        key = os.environ.get(KEY_VARIABLE, "").strip()
    else:
        try:
            key = Path(path).read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            cure = "evolvent hive serve writes admin.key and worker.key into its folder"
            raise BadInput("the key cannot be read", where="key_file", got=str(error), cure=cure) from None
    if not (key.startswith("hive_") and key.isascii() and key.isprintable()):
        cure = f"key_file=FILE, or export {KEY_VARIABLE}=hive_... (the key itself, no file)"
        got = "nothing" if not key else "something else"
        raise BadInput("no key of a user", where=path or KEY_VARIABLE, got=got, wanted="hive_...", cure=cure)
    return key


def _here(fields: Mapping[str, str], where: tuple[str, str], how_many: tuple[int, int | None], screen: Screen) -> int:
    from evolvent.hive.work import open_worker

    num, most = how_many
    base = fields.get("name", f"{socket.gethostname()[:40]}-{os.getpid()}")
    with kept_folder(fields.get("home")) as home:
        workers = [open_worker(*where, home, base if num == 1 else f"{base}.{i + 1}") for i in range(num)]
        for worker in workers:
            worker.tell = lambda done: _say(screen, done)
        stop = threading.Event()
        _hear_signals(stop)
        _end_with_parent(stop)
        counts = _work_all(workers, stop, most)
    return sum(counts)


@contextmanager
def kept_folder(home: str | None) -> Iterator[Path]:
    """The folder of this name, or one that goes away with the block."""
    if home is not None:
        yield Path(home)
        return
    with tempfile.TemporaryDirectory(prefix="evolvent-worker-", ignore_cleanup_errors=True) as made:
        yield Path(made)


def _hear_signals(stop: threading.Event) -> None:
    """The first signal ends after the measurement at hand, the second one at once."""

    def hear(_: int, __: object) -> None:
        stop.set()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGTERM, hear)
    signal.signal(signal.SIGINT, hear)


def _end_with_parent(stop: threading.Event) -> None:
    """A worker that a hub started ends after it, however that ended."""
    parent = os.environ.get(PARENT_VARIABLE, "")
    if not parent:
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            if stop.wait(1.0):
                return
        stop.set()

    threading.Thread(target=watch, daemon=True).start()


def _work_all(workers: list[Worker], stop: threading.Event, most: int | None) -> list[int]:
    """Let all of them work, the first in this thread; what stops one stops all."""
    counts, troubles = [0] * len(workers), []

    def work(i: int) -> None:
        try:
            counts[i] = workers[i].run(stop, max_jobs=most)
        except EvolventError as error:
            troubles.append(error)
            stop.set()

    others = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(1, len(workers))]
    for other in others:
        other.start()
    work(0)
    for other in others:
        other.join()
    for worker in workers:
        worker.close()
    if troubles:
        raise troubles[0]
    return counts


def _say(screen: Screen, done: Done) -> None:
    line = (
        f"{done.task:<12} {done.commit[:8] or '-':<8}  {done.kind:<8} {done.seconds:6.1f} s  {one_line(done.said, 400)}"
    )
    screen.console.print(line, markup=False, soft_wrap=True)


def _on_ray(url: str, key: str, num: int, most: int | None) -> int:
    """Workers as actors of a Ray cluster; one that dies is started again, and its job is leased again."""
    try:
        import ray
    except ModuleNotFoundError:
        cure = 'pip install "evolvent[ray]"'
        raise MissingExtra("Ray is not installed", where="on=ray", cure=cure) from None
    from evolvent.hive.work_on_ray import work_on_ray

    return work_on_ray(ray, url, key, num, most)
