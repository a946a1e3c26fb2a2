"""The process of one agent of a swarm: joins, and writes down how it ended, which nobody waits to see."""

from __future__ import annotations

import io
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType

from evolvent.cli.main import main as run_words
from evolvent.errors import EvolventError

MEMBER, EXIT = "EVOLVENT_HIVE_MEMBER", "exit"  # as in hive.swarm, which takes a second to import


def main() -> None:
    """Run `evolvent hive join` with the words of this process, and end with its status."""
    folder = os.environ.pop(MEMBER, "")  # what an agent starts is no member
    signal.signal(signal.SIGTERM, _leave)
    sys.stdout, sys.stderr = _Steady(1), _Steady(2)
    try:
        status = run_words(["hive", "join", *sys.argv[1:]])
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 1
    except BaseException:
        _keep(folder, 1)
        raise
    _keep(folder, status)
    sys.exit(status)


class _Steady(io.TextIOBase):
    """A stream that loses words where there is no room for them: a full disk ends no agent."""

    encoding = "utf-8"

    def __init__(self, number: int) -> None:
        self._number = number

    def write(self, text: str) -> int:
        data = text.encode(errors="replace")
        with suppress(OSError):
            while data:
                data = data[os.write(self._number, data) :]
        return len(text)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number


def _leave(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _keep(folder: str, status: int) -> None:
    from evolvent.store.atomic import write_text

    if folder:
        with suppress(EvolventError):
            write_text(Path(folder) / EXIT, f"{status}\n")
