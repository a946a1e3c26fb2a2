"""What the system says about processes."""

import contextlib
import time
from pathlib import Path


def named(mark):
    """The processes whose command line holds this."""
    found = []
    for folder in _folders():
        with contextlib.suppress(OSError):
            if mark.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def below(pid):
    """All processes that descend from one."""
    children = {}
    for folder in _folders():
        with contextlib.suppress(OSError):
            children.setdefault(int(_stat(folder.name)[1]), []).append(int(folder.name))
    found, todo = [], [pid]
    while todo:
        found += (more := children.get(todo.pop(), []))
        todo += more
    return found


def await_end(pids, patience_s=5):
    """Those that are still there after a while."""
    until = time.monotonic() + patience_s
    while (left := [pid for pid in pids if is_alive(pid)]) and time.monotonic() < until:
        time.sleep(0.02)
    return left


def is_alive(pid):
    """Whether a process is there and has not ended."""
    try:
        return _stat(pid)[0] != "Z"
    except OSError:
        return False


def _stat(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _folders():
    return [folder for folder in Path("/proc").iterdir() if folder.name.isdecimal()]
