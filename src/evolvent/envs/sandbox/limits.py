"""What a sandboxed call may use, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from evolvent.errors import BadInput


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one call, or of one whole session: all its processes and files together where nothing else is said.

    `cpu_s` is of one process, `file_bytes` of one file, `output_bytes` of stdout and stderr each.
    """

    wall_s: float = 10.0
    cpu_s: float = 10.0
    memory_bytes: int = 512 * 2**20
    num_processes: int = 32
    disk_bytes: int = 64 * 2**20
    file_bytes: int = 32 * 2**20
    num_files: int = 4096
    output_bytes: int = 64 * 2**10
    num_open_files: int = 64

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise BadInput(
                    "a limit must be positive", where=f"Limits.{name}", got=getattr(self, name), wanted="> 0"
                )


class Ended(StrEnum):
    """How a call ended; everything but the first is the doing of the code that ran."""

    OK = "ok"
    FAILED = "failed"  # an exit status that is not 0, or an uncaught exception
    TIMED_OUT = "timed out"
    OUT_OF_MEMORY = "out of memory"
    TOO_MUCH_OUTPUT = "too much output"
    KILLED = "killed"  # by a signal, for whatever other limit


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call used: seconds, and the most bytes of memory at once (0 where the tier cannot tell)."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    max_memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a call. `exit` is the status, or minus the signal; output beyond its limit is cut off.

    `files` holds what was asked to be kept, by path below the working folder, where it was there to be kept.
    """

    stdout: str
    stderr: str
    exit: int
    outcome: Ended
    usage: Usage = Usage()
    files: Mapping[str, bytes] = field(default_factory=dict)
