"""Leads one sandbox: starts what runs in it, watches what all of it uses, and ends it to the last process and file."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from evolvent.envs.sandbox import landlock_fence as fence
from evolvent.envs.sandbox import landlock_files as files
from evolvent.envs.sandbox.landlock_broker import receive, send
from evolvent.envs.sandbox.landlock_call import CHUNK, Call, Gone, Main
from evolvent.envs.sandbox.landlock_inside import run_command, run_script, serve_cells
from evolvent.envs.sandbox.landlock_watch import Watch, descendants, num_tasks_of_user

CELLS, DONE, SAID = 3, 4, 5  # file numbers inside, behind the three streams


def lead(link: socket.socket, home: str) -> None:
    """Serve one connection: its limits, then calls until it ends."""
    signal.signal(signal.SIGTERM, _leave)
    leader = None
    try:
        header, (program,) = receive(link)
        leader = Leader(link, home, header, program)
        while True:
            header, blobs = receive(link)
            try:
                told, output = leader.run(header, blobs)
            except OSError as error:
                send(link, {"broken": str(error)})
                break
            if not leader.is_session:
                leader.close()  # before the answer: who has it may look, and finds nothing left
            send(link, told, output)
    except (EOFError, Gone, ConnectionError):
        pass
    finally:
        if leader:
            leader.close()


def _leave(*_: object) -> None:
    raise Gone


class Leader:
    """One sandbox: its folder, its limits, its processes."""

    def __init__(self, link: socket.socket, home: str, header: dict[str, Any], program: bytes) -> None:
        self.link, self.limits, self.program = link, header["limits"], program
        self.is_session = header["is_session"]
        self.broker = os.getppid()
        fence.become_subreaper()
        fence.scope_signals()
        self.is_scoped = not _can_signal(self.broker)
        self.user = fence.own_user()
        self.folder = f"{home}/{os.getpid()}"
        for name in ("", "/work", "/tmp"):
            Path(self.folder + name).mkdir(0o711 if not name else 0o700)
            if name and self.user is not None:
                os.chown(self.folder + name, self.user, self.user)
        self.watch = Watch()
        self.interpreter: Main | None = None
        others = num_tasks_of_user() if self.user is None else 0
        self.bounds = {**self.limits, "num_tasks": self.limits["num_processes"] + others}

    @property
    def work(self) -> str:
        """The working folder."""
        return self.folder + "/work"

    def run(self, header: dict[str, Any], blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        """One call, from its files to what is kept of them."""
        code, stdin, *contents = blobs
        files.put(self.work, dict(zip(header["files"], contents, strict=True)), self.user)
        start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        if self.is_session:
            self._signal_all(signal.SIGCONT)
            self.watch.begin()
        main = self._started(header["argv"], code, stdin)
        call = Call(self.link, self.broker, self.folder, self.limits, self.watch, main)
        if main is self.interpreter:
            call.put_cell(code, stdin)
        call.follow(start)
        status = self._end(main, call)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = files.kept(self.work, header["keep"], self.limits["file_bytes"], self.limits["disk_bytes"])
        told = {
            "exit": status, "outcome": call.outcome(status), "wall_s": time.monotonic() - start,
            "cpu_s": max(sum(after[:2]) - sum(before[:2]), self.watch.cpu_s),
            "memory": max(self.watch.max_memory_bytes, after.ru_maxrss * 1024), "kept": list(found),
        }  # fmt: skip
        return told, [bytes(call.out), bytes(call.err), *found.values()]

    def close(self) -> None:
        """End every process and remove every file."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._kill_all()
        files.remove(self.folder)

    def _started(self, argv: list[str], code: bytes, stdin: bytes) -> Main:
        if argv:
            return self._spawn([word.encode("utf-8", "surrogateescape") for word in argv], None, stdin)
        if not self.is_session:
            return self._spawn([], code, stdin)
        if not self.interpreter:
            self.interpreter = self._spawn([], None, b"")
        return self.interpreter

    def _spawn(self, words: list[bytes], code: bytes | None, stdin: bytes) -> Main:
        """Fork, fence in, run; a fence that does not close is the sandbox's fault and not the code's."""
        given = os.memfd_create("stdin")
        if stdin:
            os.write(given, stdin)
        os.lseek(given, 0, os.SEEK_SET)
        (out, out_end), (err, err_end), (cells_end, cells), (done, done_end), (ready, said) = (
            os.pipe() for _ in range(5)
        )
        inside = [given, out_end, err_end, cells_end, done_end, said]
        pid = os.fork()
        if not pid:
            self._go_in(inside, words, code)
        for number in inside:
            os.close(number)
        trouble = os.read(ready, CHUNK)
        os.close(ready)
        if trouble:
            raise OSError(trouble.decode("utf-8", "replace"))
        for number in (out, err, done):
            os.set_blocking(number, False)
        return Main(pid, os.pidfd_open(pid), out, err, cells, done)

    def _go_in(self, inside: list[int], words: list[bytes], code: bytes | None) -> NoReturn:
        """In the child: only its own streams, folder and environment, then the fence, then what is not trusted."""
        try:
            is_session = code is None and not words
            _take_streams(inside)
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.chdir(self.work)
            os.environ.clear()
            os.environ.update(_environment(self.work, self.folder + "/tmp"))
            os.umask(0o077)
            bounds = {**self.bounds, "cpu_s": 0 if is_session else self.limits["cpu_s"]}
            fence.enter((self.work, self.folder + "/tmp"), bounds, self.user, self.program)
        except BaseException as error:
            os.write(SAID, f"{type(error).__name__}: {error}".encode())
            os._exit(1)
        if is_session:
            os.close(SAID)
            serve_cells(CELLS, DONE)
        os.closerange(CELLS, SAID + 1)
        if code is not None:
            run_script(code)
        run_command(words)

    def _end(self, main: Main, call: Call) -> int:
        """Its exit status; what is left over is killed, and the interpreter stands still until the next call."""
        if call.status is not None:  # a cell that ended by itself
            self._sweep()
            call.drain()
            return call.status
        if not self.is_session or call.reason or main is self.interpreter:
            status = self._kill_all().get(main.pid, 0)
            if self.interpreter and self.interpreter is not main:
                self.interpreter.close()
            self.interpreter = None
        else:
            status = os.waitpid(main.pid, 0)[1]
            self._sweep()
        call.drain()
        main.close()
        return os.waitstatus_to_exitcode(status)

    def _sweep(self) -> None:
        """Stop everything, so that nothing forks any more, and kill what is not the interpreter."""
        self._signal_all(signal.SIGSTOP)
        mine = self.interpreter.pid if self.interpreter else 0
        while others := [pid for pid in descendants() if pid != mine]:
            for pid in others:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                with suppress(OSError):
                    os.waitpid(pid, os.WNOHANG)
            time.sleep(0.0002)

    def _kill_all(self) -> dict[int, int]:
        """Kill until there is nobody left; wait statuses by process."""
        ended: dict[int, int] = {}
        while True:
            self._signal_all(signal.SIGKILL)
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
                while pid:
                    ended[pid] = status
                    pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return ended
            time.sleep(0.0005)

    def _signal_all(self, number: int) -> None:
        """To every process of this sandbox, and in one call of the kernel where a fork cannot slip through."""
        if self.is_scoped:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(-1, number)  # the scope ends at this leader's own descendants
            return
        if self.user is not None and (helper := os.fork()) == 0:
            _signal_as(self.user, number)
        elif self.user is not None:
            os.waitpid(helper, 0)
        else:
            for pid in descendants():
                with suppress(OSError):
                    os.kill(pid, number)


def _signal_as(user: int, number: int) -> NoReturn:
    """As that user, whose processes are all that this one may signal."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    with suppress(OSError):
        if os.getuid() == user:
            os.kill(-1, number)
    os._exit(0)


def _can_signal(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return False
    return True


def _take_streams(inside: list[int]) -> None:
    """Stdin, stdout, stderr, two pipes for cells and one for trouble, as 0 to 5, and nothing else."""
    high = [fcntl.fcntl(number, fcntl.F_DUPFD, 16) for number in inside]
    for place, number in enumerate(high):
        os.dup2(number, place)
    os.closerange(SAID + 1, 1 << 16)


def _environment(work: str, temporary: str) -> dict[str, str]:
    path = f"{sys.base_exec_prefix}/bin:/usr/local/bin:/usr/bin:/bin"
    return {"PATH": path, "HOME": work, "TMPDIR": temporary, "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip
