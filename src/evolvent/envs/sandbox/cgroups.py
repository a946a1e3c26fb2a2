"""Lends control groups, which bound all processes of a call together, where this user may make them."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from evolvent.envs.sandbox.limits import Limits

PREFIX = "evolvent-"
MAX_IDLE = 32


@dataclass(eq=False)
class Group:
    """One control group (two folders in version 1), lent to one box at a time."""

    folders: tuple[Path, ...]
    key: tuple[int, int]
    is_v2: bool
    _files: dict[tuple[int, str], int] = field(default_factory=dict)

    def joins(self) -> list[int]:
        """Descriptors; whoever writes 0 into them is in."""
        return [self._open("cgroup.procs", os.O_WRONLY, place) for place in range(len(self.folders))]

    def begin(self) -> None:
        """Forget how much was used at most."""
        self._kills = self._count_kills()
        if not self.is_v2:
            os.pwrite(self._open("memory.max_usage_in_bytes", os.O_RDWR), b"0", 0)

    def killed(self) -> bool:
        """Whether a process was killed for memory since `begin`."""
        return self._count_kills() > self._kills

    def max_bytes(self) -> int:
        """The most memory in use at once since `begin`; in version 2 since the group was made."""
        name = "memory.peak" if self.is_v2 else "memory.max_usage_in_bytes"
        try:
            return int(os.pread(self._open(name, os.O_RDONLY if self.is_v2 else os.O_RDWR), 64, 0))
        except OSError:
            return 0

    def is_empty(self) -> bool:
        """Whether nobody is left in it."""
        return all(not (folder / "cgroup.procs").read_text("ascii") for folder in self.folders)

    def remove(self) -> None:
        """Close and remove it; one that is still in use is left to the keeper."""
        for number in self._files.values():
            os.close(number)
        self._files.clear()
        for folder in self.folders:
            with suppress(OSError):
                folder.rmdir()

    def _count_kills(self) -> int:
        name = "memory.events" if self.is_v2 else "memory.oom_control"
        text = os.pread(self._open(name, os.O_RDONLY), 4096, 0).split()
        return int(text[text.index(b"oom_kill") + 1]) if b"oom_kill" in text else 0

    def _open(self, name: str, flags: int, place: int = 0) -> int:
        if (place, name) not in self._files:
            self._files[place, name] = os.open(self.folders[place] / name, flags | os.O_CLOEXEC)
        return self._files[place, name]


class Groups:
    """The control groups of one sandbox, below folders that carry the number of this process."""

    def __init__(self, homes: tuple[Path, ...], is_v2: bool) -> None:
        self.homes, self._is_v2 = homes, is_v2
        self._lock = threading.Lock()
        self._idle: list[Group] = []
        self._num_made = 0

    def lend(self, limits: Limits) -> Group:
        """A group with these limits, for one box."""
        key = (limits.memory_bytes, limits.num_processes)
        with self._lock:
            for group in reversed(self._idle):
                if group.key == key:
                    self._idle.remove(group)
                    return group
            self._num_made += 1
            number = self._num_made
        folders = tuple(home / str(number) for home in self.homes)
        for folder in folders:
            folder.mkdir()
        self._limit(folders, limits)
        return Group(folders, key, self._is_v2)

    def take_back(self, group: Group) -> None:
        """Keep it for the next, unless somebody is still inside."""
        with self._lock:
            if len(self._idle) < MAX_IDLE and group.is_empty():
                self._idle.append(group)
                return
        group.remove()

    def close(self) -> None:
        """Remove them all."""
        for group in self._idle:
            group.remove()
        self._idle.clear()
        for home in self.homes:
            with suppress(OSError):
                home.rmdir()

    def _limit(self, folders: tuple[Path, ...], limits: Limits) -> None:
        memory, pids = folders[0], folders[-1]
        if self._is_v2:
            (memory / "memory.max").write_text(str(limits.memory_bytes))
            with suppress(OSError):  # no swap here
                (memory / "memory.swap.max").write_text("0")
        else:
            (memory / "memory.limit_in_bytes").write_text(str(limits.memory_bytes))
            with suppress(OSError):
                (memory / "memory.memsw.limit_in_bytes").write_text(str(limits.memory_bytes))
        (pids / "pids.max").write_text(str(limits.num_processes))


def open_groups() -> Groups | None:
    """Groups of this process where it may make them: version 1, else version 2; what dead processes left is removed."""
    own = {tuple(kinds.split(",")): path for _, kinds, path in _own_lines()}
    name = f"{PREFIX}{os.getpid()}-{_start_time(os.getpid())}"
    v1 = [
        Path("/sys/fs/cgroup", kind, path.lstrip("/"))
        for kind in ("memory", "pids")
        for kinds, path in own.items()
        if kind in kinds
    ]
    if len(v1) == 2:
        return _make(tuple(v1), name, is_v2=False)
    home = Path("/sys/fs/cgroup", own.get(("",), "/").lstrip("/"))
    # a group with processes of its own cannot hold others with limits: its neighbour can
    return _make((home.parent if home != Path("/sys/fs/cgroup") else home,), name, is_v2=True)


def _own_lines() -> list[tuple[str, str, str]]:
    with suppress(OSError):
        lines = Path("/proc/self/cgroup").read_text("utf-8").splitlines()
        return [(parts[0], parts[1], parts[2]) for line in lines if len(parts := line.split(":", 2)) == 3]
    return []


def _make(above: tuple[Path, ...], name: str, is_v2: bool) -> Groups | None:
    homes = tuple(folder / _unused(above, name) for folder in above)
    try:
        for folder in above:
            _remove_stale(folder)
        for home in homes:
            home.mkdir()
        if is_v2:
            (homes[0] / "cgroup.subtree_control").write_text("+memory +pids")
        groups = Groups(homes, is_v2)
        groups.take_back(groups.lend(Limits()))
    except OSError:
        for home in homes:
            with suppress(OSError):
                home.rmdir()
        return None
    return groups


def _unused(above: tuple[Path, ...], name: str) -> str:
    number = 0
    while any((folder / f"{name}-{number}").exists() for folder in above):
        number += 1
    return f"{name}-{number}"


def _remove_stale(folder: Path) -> None:
    for home in folder.glob(f"{PREFIX}*"):
        pid, start, *_ = (*home.name.removeprefix(PREFIX).split("-"), "", "")
        if pid.isdigit() and _start_time(int(pid)) != start:
            for inner in (*(path for path in home.iterdir() if path.is_dir()), home):
                with suppress(OSError):
                    inner.rmdir()


def _start_time(pid: int) -> str:
    """When a process started, as the kernel counts; nothing where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[19]
    except OSError:
        return ""
