"""Runs a program, and ends it and all that it started once it exits or whoever asked for it is gone.

Started as a script by its path, with no import of ours: `minder.py NAMES PARENT PROGRAM [ARGUMENT ...]`, where NAMES
are the environment variables that the program may see, joined by commas. It leads a process group of its own; on Linux
it also inherits the orphans of those who left that group, and so reaches them too.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
IS_LINUX = sys.platform == "linux"
POLL_S = 0.2


def main(names: str, parent: str, *program: str) -> None:
    """Never returns: ends with all that it minds."""
    if os.getpgid(0) != os.getpid():
        os.setsid()
    _ask_kernel(PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGTERM, lambda *_: _end())
    _ask_kernel(PR_SET_PDEATHSIG, signal.SIGTERM)
    child = os.fork()
    if child == 0:
        _become(program, set(names.split(",")))
    # the pipes belong to the program alone: its end must be seen at the other side
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    while os.getppid() == int(parent):
        found, _ = os.waitpid(-1, 0 if IS_LINUX else os.WNOHANG)  # orphans end here too
        if found == child:
            break
        time.sleep(0 if IS_LINUX else POLL_S)
    _end()


def _become(program: tuple[str, ...], kept: set[str]) -> None:
    _ask_kernel(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    environment = {name: value for name, value in os.environ.items() if name in kept}
    try:
        os.execvpe(program[0], program, environment)
    except OSError as error:
        os.write(2, f"cannot start {program[0]}: {error.strerror}\n".encode())
        os._exit(127)


def _end() -> None:
    """Kill until nobody is left, ourselves last: the children of the killed become ours."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while IS_LINUX and (children := list(_children())):
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(-1, 0)
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _children() -> Iterator[int]:
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - pathlib is not worth its import here
        with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
            if int(file.read().rpartition(b")")[2].split()[1]) == os.getpid():
                yield int(name)


def _ask_kernel(what: int, value: int) -> None:
    if IS_LINUX:
        ctypes.CDLL(None).prctl(what, value)


if __name__ == "__main__":
    main(*sys.argv[1:])
