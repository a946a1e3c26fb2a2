"""`evolvent hive work`: measures for a hub, here or on a Ray cluster, until Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolvent.cli.hive_serve import whole
from evolvent.cli.main import Command, refuse_fields
from evolvent.cli.screen import Screen
from evolvent.errors import BadInput, MissingExtra

if TYPE_CHECKING:
    from evolvent.hive.work import Done

FIELDS = ("hub", "key_file", "home", "name", "num", "on", "max_jobs")
KEY_VARIABLE = "EVOLVENT_HIVE_KEY"


def main(command: Command, words: tuple[str, ...]) -> dict[str, Any]:
    """Work until told to stop; a signal ends it after the measurement at hand, a second one at once."""
    if words:
        raise BadInput("work takes fields alone", where="evolvent hive work", got=words[0], wanted="hub=URL")
    refuse_fields(command, FIELDS)
    fields, screen = command.fields, Screen(as_json=command.json)
    url, key, on = hub_of(fields), read_key(fields), fields.get("on", "local")
    if on not in ("local", "ray"):
        raise BadInput("workers are local or on Ray", where="on", got=on, wanted="local | ray")
    most = whole(fields, "max_jobs", 0) or None
    num = max(1, whole(fields, "num", 1))
    done = _on_ray(url, key, num, most) if on == "ray" else _here(fields, (url, key), (num, most), screen)
    screen.say(f"{done} measured")
    return {"measured": done}


def hub_of(fields: Mapping[str, str]) -> str:
    """The address of the hub that a command is about."""
    url = fields.get("hub", os.environ.get("EVOLVENT_HIVE") or os.environ.get("HIVE_SERVER", ""))
    if not url.startswith(("http://", "https://")):
        cure = "evolvent hive serve prints it; or export EVOLVENT_HIVE=URL"
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
            raise BadInput("the key cannot be read", where="key_file", got=str(error)) from None
    if not key.startswith("hive_"):
        cure = f"key_file=FILE, or export {KEY_VARIABLE}"
        raise BadInput("no key of a user", where="key", got="nothing" if not key else "something else", cure=cure)
    return key


def _here(fields: Mapping[str, str], where: tuple[str, str], how_many: tuple[int, int | None], screen: Screen) -> int:
    from evolvent.hive.work import open_worker

    num, most = how_many
    home = fields.get("home") or tempfile.mkdtemp(prefix="evolvent-worker-")
    base = fields.get("name", f"{socket.gethostname()[:40]}-{os.getpid()}")
    workers = [open_worker(*where, home, base if num == 1 else f"{base}.{i + 1}") for i in range(num)]
    stop, counts = threading.Event(), [0] * num

    def hear(_: int, __: object) -> None:
        stop.set()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGTERM, hear)
    signal.signal(signal.SIGINT, hear)

    def work(i: int) -> None:
        workers[i].tell = lambda done: _say(screen, done)
        counts[i] = workers[i].run(stop, max_jobs=most)

    others = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(1, num)]
    for other in others:
        other.start()
    work(0)
    for other in others:
        other.join()
    return sum(counts)


def _say(screen: Screen, done: Done) -> None:
    line = f"{done.task:<12} {done.commit[:8] or '-':<8}  {done.kind:<8} {done.seconds:6.1f} s  {done.said}"
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
