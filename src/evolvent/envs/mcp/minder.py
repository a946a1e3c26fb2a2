"""Runs a program, and ends it and all that it started once it exits or whoever asked for it is gone.

Started as a script by its path, with no import of ours: `minder.py NAMES PARENT PROGRAM [ARGUMENT ...]`, where NAMES
are the environment variables that the program may see, joined by commas. It leads a process group of its own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
POLL_S = 0.2


def main(names: str, parent: str, *program: str) -> None:
    """Never returns: ends with its whole group."""
    if os.getpgid(0) != os.getpid():
        os.setsid()
    kept = set(names.split(","))
    child = os.fork()
    if child == 0:
        environment = {name: value for name, value in os.environ.items() if name in kept}
        try:
            os.execvpe(program[0], program, environment)
        except OSError as error:
            os.write(2, f"cannot start {program[0]}: {error.strerror}\n".encode())
            os._exit(127)
    signal.signal(signal.SIGTERM, lambda *_: _end())
    # the pipes belong to the program alone: its end must be seen at the other side
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() == int(parent):
            os.waitpid(child, 0)
    else:
        while os.getppid() == int(parent) and os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(POLL_S)
    _end()


def _end() -> None:
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
