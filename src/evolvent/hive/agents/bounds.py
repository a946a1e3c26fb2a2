"""Bounds what all processes of an agent's command use together, where this user may make control groups."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from evolvent.envs.sandbox.cgroups import Group, Groups, open_groups
from evolvent.envs.sandbox.limits import Limits
from evolvent.errors import BadInput

# the shell enters the groups, and becomes the command: what that starts is in them from its first moment on
_ENTER = 'n=$1; shift; while [ "$n" -gt 0 ]; do echo 0 >"$1" || exit 125; shift; n=$((n-1)); done; exec "$@"'


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most memory and the most processes and threads at once."""

    memory_mb: int = 4096
    processes: int = 1024

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not 0 < getattr(self, name) <= 2**22:
                raise BadInput("a bound must be positive", where=name, got=getattr(self, name), wanted="1 to 2^22")


@dataclass(frozen=True)
class Bounded:
    """A command line within its bounds."""

    words: list[str]
    group: Group | None

    def ran_out(self) -> bool:
        """Whether something of it was killed for memory."""
        return self.group is not None and self.group.killed()


@contextmanager
def bounded(words: Sequence[str], bounds: Bounds) -> Iterator[Bounded]:
    """The command line that runs `words` within the bounds; as they are where this user may make no groups."""
    groups = _groups(os.getpid())
    if groups is None:
        yield Bounded(list(words), None)
        return
    group = groups.lend(Limits(memory_bytes=bounds.memory_mb * 2**20, num_processes=bounds.processes))
    try:
        group.begin()
        doors = [str(folder / "cgroup.procs") for folder in group.folders]
        yield Bounded(["/bin/sh", "-c", _ENTER, "sh", str(len(doors)), *doors, *words], group)
    finally:
        groups.take_back(group)


def can_bound() -> bool:
    """Whether this user may make control groups here."""
    return _groups(os.getpid()) is not None


@lru_cache(maxsize=1)
def _groups(pid: int) -> Groups | None:
    groups = open_groups()  # by process: they carry its number, and those of a dead one are removed by the next
    if groups is not None:
        atexit.register(groups.close)
    return groups
