"""Encloses an agent's command: it sees the system, its own tree and home, and nobody else's; the network is shared.

Looser than the sandbox of an artifact, for a coding agent has to reach its hub and its endpoint, and to keep files.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from evolvent.errors import BadInput, InfrastructureError

TREE, HOME = "/agent/tree", "/agent/home"
PROBE_S, TMP_BYTES = 10.0, 2**30
# of /etc only what programs need to find names, hosts and certificates: no keys, no shadow
ETC = (
    *("alternatives", "ca-certificates", "gai.conf", "host.conf", "hosts", "ld.so.cache", "localtime", "magic"),
    *("mime.types", "nsswitch.conf", "pki", "protocols", "resolv.conf", "services", "ssl", "terminfo"),
)
PASSED = ("LANG", "LC_ALL", "TERM", "TZ", "NO_COLOR")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


class Isolate(StrEnum):
    """How an agent's command is kept apart from the rest of the machine."""

    BWRAP = "bwrap"
    NONE = "none"


@dataclass(frozen=True)
class Room:
    """The folders of one agent, and what else it may see: `see` are paths of the host, to be read, `env` variables."""

    tree: Path
    home: Path
    isolate: Isolate
    see: tuple[Path, ...] = ()
    env: tuple[str, ...] = ()

    @property
    def seen_tree(self) -> str:
        """The work tree as the command knows it."""
        return TREE if self.isolate is Isolate.BWRAP else str(self.tree)

    @property
    def seen_home(self) -> str:
        """The home as the command knows it."""
        return HOME if self.isolate is Isolate.BWRAP else str(self.home)


def enclose(words: Sequence[str], room: Room) -> list[str]:
    """The command line that runs `words` in the room; they are run as they are where nothing isolates."""
    program = _find_program(words[0], room)
    if room.isolate is Isolate.NONE:
        return [program, *words[1:]]
    return [*_walls(), *_sights(room), "--chdir", TREE, "--", program, *words[1:]]


def surround(room: Room, own: Mapping[str, str]) -> dict[str, str]:
    """The environment of the command: `own`, what was named, and little else where the room is closed."""
    missing = [name for name in room.env if name not in os.environ]
    if missing:
        raise BadInput("this variable is not set", where="env", got=missing[0], cure=f"export {missing[0]}=...")
    names = [*PASSED, *PROXIES, *(name.lower() for name in PROXIES), *room.env]
    kept = dict(os.environ) if room.isolate is Isolate.NONE else {n: os.environ[n] for n in names if n in os.environ}
    for name in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "GIT_DIR", "GIT_WORK_TREE"):
        kept.pop(name, None)
    path = os.pathsep.join(map(str, _search_path(room)))
    return {**kept, "LANG": kept.get("LANG", "C.UTF-8"), "PATH": path, "HOME": room.seen_home, **own}


def choose(asked: str | None) -> tuple[Isolate, str]:
    """What isolates here, and a warning where nothing does; InfrastructureError where bwrap was asked for in vain."""
    if asked is not None and asked not in list(Isolate):
        raise BadInput("unknown isolation", where="isolate", got=asked, wanted=" | ".join(Isolate))
    if asked == Isolate.NONE:
        return Isolate.NONE, "isolate=none: the agent's command can read and change all that you can"
    why = probe()
    if not why:
        return Isolate.BWRAP, ""
    if asked == Isolate.BWRAP:
        cure = "follow the words above, or isolate=none where you trust the command"
        raise InfrastructureError("bubblewrap does not work here", where="isolate=bwrap", got=why, cure=cure)
    return Isolate.NONE, f"not isolated ({why}): the agent's command can read and change all that you can"


@lru_cache(maxsize=1)
def probe() -> str:
    """Nothing where a room can be made on this machine, else why not."""
    if shutil.which("bwrap") is None:
        return "bwrap is not installed: apt install bubblewrap"
    try:
        tried = subprocess.run(
            [*_walls(), "--", "/usr/bin/env", "true"], capture_output=True, text=True, timeout=PROBE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bwrap: {error}"
    return "" if tried.returncode == 0 else " ".join(tried.stderr.split()) or f"bwrap ended with {tried.returncode}"


def check_sight(path: Path, folder: Path) -> Path:
    """A path that an agent may be shown; BadInput where it is not there, or would show it the folders of all agents."""
    found = path.expanduser().absolute()
    if not found.exists():
        raise BadInput("there is nothing to see", where="see", got=found, wanted="a file or folder of this machine")
    if folder.resolve().is_relative_to(found.resolve()):
        wanted = "the folder of a program, or of its settings"
        raise BadInput("this would show an agent the folders of the others", where="see", got=found, wanted=wanted)
    return found


# ---------------------------------------------------------------- the walls


@lru_cache(maxsize=1)
def _walls() -> tuple[str, ...]:
    """Namespaces without rights, the system to be read, and a /proc, /dev and /tmp of its own."""
    bwrap = shutil.which("bwrap") or "bwrap"
    uid, gid = ("1000", "1000") if os.getuid() == 0 else (str(os.getuid()), str(os.getgid()))
    words = [bwrap, "--die-with-parent", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    words += ["--unshare-cgroup-try", "--uid", uid, "--gid", gid, "--cap-drop", "ALL", "--hostname", "agent"]
    words += _no_more_namespaces(bwrap)
    words += ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            words += ["--ro-bind", str(path), str(path)]
    for name in ETC:
        words += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    # a /proc that can be written would give whoever is root outside the machine's own settings, such as core_pattern
    words += ["--proc", "/proc", "--remount-ro", "/proc"]
    # what --dev makes may grow to half of the memory of the machine
    words += ["--dev", "/dev"]
    for folder in ("/dev/shm", "/tmp", "/var/tmp"):
        words += ["--size", str(TMP_BYTES), "--tmpfs", folder]
    for folder in (sys.base_prefix, sys.prefix):  # where the public client is installed; it may lie below /tmp
        if not _is_seen(Path(folder), [Path("/usr")]):
            words += ["--ro-bind", folder, folder]
    words += ["--remount-ro", "/dev"]
    return tuple(words)


def _no_more_namespaces(bwrap: str) -> list[str]:
    """What keeps the command from making namespaces of its own, where this bwrap and this machine can."""
    flag = ["--disable-userns"]
    try:
        tried = subprocess.run(
            [bwrap, "--unshare-user", *flag, "--ro-bind", "/", "/", "true"],
            capture_output=True, timeout=PROBE_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return []
    return flag if tried.returncode == 0 else []


def _sights(room: Room) -> list[str]:
    words = []
    for path in room.see:
        if not _is_seen(path, [Path("/usr"), Path(sys.base_prefix), Path(sys.prefix)]):
            words += ["--ro-bind", str(path), str(path)]
    return [*words, "--bind", str(room.home), HOME, "--bind", str(room.tree), TREE, "--remount-ro", "/"]


# ---------------------------------------------------------------- programs


def _find_program(word: str, room: Room) -> str:
    """The program by its whole path as the room sees it; a relative path is one of the tree."""
    if "/" in word and not word.startswith("/"):
        return word
    found = word if word.startswith("/") else shutil.which(word, path=os.pathsep.join(map(str, _search_path(room))))
    if found and (room.isolate is Isolate.NONE or _is_seen(Path(found), _seen(room))) and Path(found).exists():
        return found
    there = shutil.which(word) or (word if Path(word).exists() else None)
    if there is None:
        raise BadInput("no such agent", where="agent", got=word, wanted="a program on the PATH, or its whole path")
    raise BadInput(
        "the agent's program lies where its room does not reach", where=f"agent={word}", got=there,
        cure=f"see={Path(there).resolve().parent} (and what else it reads), or isolate=none",
    )  # fmt: skip


def _search_path(room: Room) -> list[Path]:
    """The folders of PATH that the room sees, and last the one where the public client is installed."""
    asked = [Path(one) for one in os.environ.get("PATH", os.defpath).split(os.pathsep) if one.startswith("/")]
    asked += [Path(sys.prefix, "bin")]
    seen = [one for one in asked if room.isolate is Isolate.NONE or _is_seen(one, _seen(room))]
    return list(dict.fromkeys(seen))


def _seen(room: Room) -> list[Path]:
    system = [Path("/", name) for name in ("usr", "bin", "sbin", "lib", "lib64")]
    return [*system, Path(sys.base_prefix), Path(sys.prefix), *room.see]


def _is_seen(path: Path, roots: Sequence[Path]) -> bool:
    return any(path == root or root in path.parents for root in roots)
