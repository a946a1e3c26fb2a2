"""Follows a command that runs for long: its group, its log, its time, and an end that leaves none of its children."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from evolvent.errors import BadInput

MARK = "EVOLVENT_HIVE_SEAT"  # in the environment of everything that an agent starts: its folder
GRACE_S, POLL_S, LOG_BYTES, TAIL_BYTES = 5.0, 0.05, 16 * 2**20, 16384


class AgentProcess:
    """A command at work in a session of its own. Its output goes to a log that cannot grow without end.

    `tail` is the last of what it said. Whoever starts it has to `stop` it, whatever happens.
    """

    def __init__(self, words: Sequence[str], env: Mapping[str, str], folder: Path, log: Path, stdin: str = "") -> None:
        self.tail = bytearray()
        reading, writing = os.pipe()
        try:
            self._popen = subprocess.Popen(
                list(words), env=dict(env), cwd=folder, stdin=subprocess.PIPE, stdout=writing, stderr=writing,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            os.close(reading)
            raise BadInput("the agent cannot be started", where=words[0], got=os.strerror(error.errno or 0)) from error
        finally:
            os.close(writing)
        self.pid = self._popen.pid
        self._is_over = threading.Event()
        self._threads = (
            threading.Thread(target=self._keep, args=(reading, log), daemon=True, name="agent's log"),
            threading.Thread(target=_tell, args=(self._popen.stdin, stdin), daemon=True, name="agent's input"),
        )
        for thread in self._threads:
            thread.start()

    def wait(self, limit_s: float) -> int | None:
        """The exit status; None where it is still at work after that time."""
        until = time.monotonic() + limit_s
        while time.monotonic() < until:  # in steps, so that a signal is heard at once
            with suppress(subprocess.TimeoutExpired):
                return self._popen.wait(min(1.0, max(0.0, until - time.monotonic())))
        return self._popen.poll()

    def stop(self, grace_s: float = GRACE_S) -> None:
        """Ask it and its children to end, and end those that do not; a second time is no error."""
        end_tree([self.pid], grace_s)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()
        self._is_over.set()
        for thread in self._threads:
            thread.join(2.0)

    def _keep(self, reading: int, log: Path) -> None:
        """Copy the output until its end, or until nobody who could write is left."""
        with LogFile(log) as file:
            while True:
                ready = select.select([reading], [], [], 0.2)[0]
                data = os.read(reading, 1 << 16) if ready else b""
                if ready and not data:
                    break
                if not ready and self._is_over.is_set():
                    break
                self.tail += data
                del self.tail[:-TAIL_BYTES]
                file.write(data)
        os.close(reading)


class LogFile:
    """A log that is begun anew once it is full, with the last one kept; a full disk costs lines, never the agent."""

    def __init__(self, path: Path, max_bytes: int = LOG_BYTES) -> None:
        self._path, self._max_bytes, self._file, self._is_whole = path, max_bytes, -1, True

    def __enter__(self) -> LogFile:
        with suppress(OSError):
            self._open()
        return self

    def __exit__(self, *_: object) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def write(self, data: bytes) -> None:
        """Add to it where there is room."""
        if not data:
            return
        try:
            if self._file < 0:
                self._open()
            if os.fstat(self._file).st_size > self._max_bytes // 2:
                self.__exit__()
                self._path.replace(self._path.with_name(self._path.name + ".1"))
                self._open()
            if not self._is_whole:
                os.write(self._file, b"\n[lines are missing here: the log could not be written]\n")
            while data:
                data = data[os.write(self._file, data) :]
            self._is_whole = True
        except OSError:
            self._is_whole = False

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def end_tree(pids: Iterable[int], grace_s: float) -> None:
    """End these processes and all that descend from them: first asked, then, after a grace, made to."""
    import psutil

    tree: list[Any] = []
    for pid in pids:
        with suppress(psutil.Error):
            one = psutil.Process(pid)
            tree += [one, *one.children(recursive=True)]
    end_all(tree, grace_s)


def end_all(processes: Sequence[Any], grace_s: float) -> None:
    """End psutil's processes, each known by its start as well as its number."""
    import psutil

    for one in processes:
        with suppress(psutil.Error):
            if one.name() != "bwrap":  # asked to end, it would not let those inside end by themselves
                one.terminate()
    inside = [one for one in processes if _is_command(one)]
    psutil.wait_procs(inside, timeout=grace_s)
    for one in processes:
        with suppress(psutil.Error):
            one.kill()
    psutil.wait_procs(list(processes), timeout=1.0)


def find_marked(folder: Path) -> list[Any]:
    """The processes that were started for the agent of this folder, whoever their parent is by now."""
    import psutil

    found = []
    for one in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if one.pid != os.getpid() and one.environ().get(MARK) == str(folder):
                found.append(one)
    return found


def _is_command(one: Any) -> bool:
    import psutil

    with suppress(psutil.Error):
        return str(one.name()) != "bwrap"
    return False


def _tell(stdin: IO[bytes] | None, words: str) -> None:
    assert stdin is not None
    with suppress(OSError):  # a command may read its prompt elsewhere, or not at all
        stdin.write(words.encode())
    with suppress(OSError):
        stdin.close()
