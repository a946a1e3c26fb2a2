"""Starts bubblewrap with as few rights as can be, and leaves nothing behind when who asked for it is gone.

Runs as a fresh interpreter, from its source text: nothing but the standard library may be imported here.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

NOBODY = 61234  # a user that owns nothing
_NEW_MOUNTS, _PRIVATE, _BIND = 0x00020000, (1 << 18) | 16384, 4096


def main() -> None:
    """Read what to start from stdin; end with it, or end it with the caller."""
    asked: dict[str, Any] = json.load(sys.stdin)
    pid = os.fork()
    if pid == 0:
        try:
            _become(asked)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(1)
    signal.signal(signal.SIGTERM, lambda *_: _end(pid, []))
    for number in asked["passed"]:
        os.close(number)
    child = os.pidfd_open(pid)
    ended, _, _ = select.select([child, asked["caller"]], [], [])
    # a caller that lives goes on using its groups
    _end(pid, asked["groups"] if asked["caller"] in ended else [])


def _end(pid: int, groups: list[str]) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)
    until = time.monotonic() + 2.0
    while not all(map(_remove, map(Path, groups))) and time.monotonic() < until:
        time.sleep(0.02)
    os._exit(0)


def _remove(group: Path) -> bool:
    """Remove a control group with those inside it; False where one still has processes."""
    with suppress(OSError):
        for inner in group.iterdir():
            if inner.is_dir():
                with suppress(OSError):
                    inner.rmdir()
        group.rmdir()
    return not group.exists()


def _become(asked: dict[str, Any]) -> None:
    os.close(asked["caller"])
    if os.getuid() == 0:
        places = _show_to_nobody(asked["sources"]) if asked["sources"] else {}
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    else:
        places = {source: source for source in asked["sources"]}
    files = {}
    for name, text in asked["texts"].items():
        files[name] = os.memfd_create(name)
        os.write(files[name], text.encode())
        os.lseek(files[name], 0, os.SEEK_SET)
    for number in (*files.values(), *asked["passed"]):
        os.set_inheritable(number, True)
    words = [_fill(word, places, files) for word in asked["command"]]
    os.chdir("/")
    os.execv(words[0], words)


def _fill(word: str, places: dict[str, str], files: dict[str, int]) -> str:
    """A word of the command, where `@path` stands for a tree as it can be seen and `%name` for a text's descriptor."""
    if word.startswith("@"):
        return places[word[1:]]
    return str(files[word[1:]]) if word.startswith("%") else word


def _show_to_nobody(sources: list[str]) -> dict[str, str]:
    """Each tree at a place that anybody may enter, in mounts of our own that vanish with us."""
    libc = ctypes.CDLL(None, use_errno=True)

    def check(status: int, what: str) -> None:
        if status != 0:
            raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")

    check(libc.unshare(_NEW_MOUNTS), "unshare of mounts")
    check(libc.mount(b"none", b"/", None, ctypes.c_ulong(_PRIVATE), None), "private mounts")
    spots = [spot for spot in ("/mnt", "/media", "/srv", "/opt", "/tmp", "/var/tmp") if Path(spot).is_dir()]
    spot = next(spot for spot in spots if not any((source + "/").startswith(spot + "/") for source in sources))
    opened = {source: os.open(source, os.O_PATH) for source in sources}
    check(libc.mount(b"places", spot.encode(), b"tmpfs", ctypes.c_ulong(0), b"mode=0755"), f"mount on {spot}")
    places = {}
    for number, source in enumerate(sources):
        places[source] = f"{spot}/{number}"
        Path(places[source]).mkdir()
        from_ = f"/proc/self/fd/{opened[source]}".encode()
        check(libc.mount(from_, places[source].encode(), None, ctypes.c_ulong(_BIND), None), f"bind of {source}")
        os.close(opened[source])
    return places


if __name__ == "__main__":
    main()
