"""Sees what all processes of a call use together, which no limit of the kernel's bounds without a control group."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

PAGE, TICKS_PER_S = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")


@dataclass
class Watch:
    """The processes below this one: memory now and at most, and how long each has computed since a call began."""

    memory_bytes: int = 0
    max_memory_bytes: int = 0
    num_tasks: int = 0
    cpu_s: float = 0.0
    before: dict[int, float] = field(default_factory=dict)

    def begin(self) -> None:
        """A new call: what was computed up to here does not count."""
        self.before = {pid: _cpu_s(pid) for pid in descendants()}
        self.max_memory_bytes = 0

    def look(self, max_bytes: int) -> None:
        """Take the numbers; shared pages are counted once only where the quick count says too much."""
        pids = descendants()
        self.num_tasks = sum(_num_tasks(pid) for pid in pids)
        self.cpu_s = max((_cpu_s(pid) - self.before.get(pid, 0.0) for pid in pids), default=0.0)
        self.memory_bytes = sum(_resident(pid) for pid in pids)
        if self.memory_bytes > max_bytes:
            self.memory_bytes = sum(_proportional(pid) for pid in pids)
        self.max_memory_bytes = max(self.max_memory_bytes, self.memory_bytes)


def descendants() -> list[int]:
    """All processes below this one, daemons too: it is their subreaper."""
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        for pid in _children(waiting.pop()):
            found.append(pid)
            waiting.append(pid)
    return found


def unlinked_bytes() -> int:
    """What is on disk or in memory under no name: files removed while open, and files that never had one."""
    seen: dict[tuple[int, int], int] = {}
    for pid in descendants():
        for path in _open_files(pid):
            with suppress(OSError):
                found = os.stat(path)  # noqa: PTH116
                if stat.S_ISREG(found.st_mode) and not found.st_nlink:
                    seen[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(seen.values())


def num_tasks_of_user() -> int:
    """Threads that run for this user anywhere: the limit of the kernel's counts them all."""
    uid, found = os.getuid(), 0
    for place in Path("/proc").iterdir():
        with suppress(OSError):
            if place.name.isdigit() and place.stat().st_uid == uid:
                found += _num_tasks(int(place.name))
    return found


def _children(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            yield from map(int, _read(f"/proc/{pid}/task/{task}/children").split())


def _open_files(pid: int) -> Iterator[str]:
    """Paths under /proc of what a process has open or mapped."""
    with suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
            yield f"/proc/{pid}/fd/{name}"
    for line in _read(f"/proc/{pid}/maps").splitlines():
        if line.endswith(" (deleted)") and "/dev/zero" not in line:  # shared memory, which counts as that
            yield f"/proc/{pid}/map_files/{line.split(' ', 1)[0]}"


def _num_tasks(pid: int) -> int:
    with suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208
    return 0


def _cpu_s(pid: int) -> float:
    words = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS_PER_S if len(words) > 12 else 0.0


def _resident(pid: int) -> int:
    words = _read(f"/proc/{pid}/statm").split()
    return int(words[1]) * PAGE if words else 0


def _proportional(pid: int) -> int:
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read().decode("latin-1")  # a codec that needs no import in a fork
    except OSError:
        return ""
