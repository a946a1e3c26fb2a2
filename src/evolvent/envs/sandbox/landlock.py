"""A sandbox without namespaces: Landlock, seccomp and rlimits around a fork, for machines that forbid the better one.

It needs no right at all, and what it cannot hide is known: names, sizes and times of files outside, that a process
of some number exists, the name of the host. Nothing outside can be opened, changed, signalled or connected to.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from evolvent.envs.sandbox.asked import Asked, Replay, checked
from evolvent.envs.sandbox.limits import Ended, Limits, Result, Usage
from evolvent.envs.sandbox.tier import DEFAULT, NO_FILES, Files
from evolvent.errors import BadInput, EvolventError, InfrastructureError

START_S, GRACE_S = 30.0, 20.0
CURE = "Linux 5.13 or later with `landlock` among the words of /sys/kernel/security/lsm"
BOOT = """
import sys, types
for name, folder in zip(("evolvent", "evolvent.envs", "evolvent.envs.sandbox"), sys.argv[3:]):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [folder]
from evolvent.envs.sandbox.landlock_broker import main
main()
"""


def probe() -> str:
    """Nothing where code can be fenced in here, else why not and the cure."""
    if sys.platform != "linux":
        return "Landlock is Linux's; elsewhere `pip install pydantic-monty` or docker"
    from evolvent.envs.sandbox import landlock_fence as fence

    if not fence.abi():
        return f"this kernel has no Landlock; {CURE}"
    sandbox = Landlock()
    try:
        ran = sandbox.run("print(open('/etc/passwd'))", limits=Limits(wall_s=5.0))
    except EvolventError as error:
        return f"{error.what}; {error.cure}" if error.cure else f"{error.what}: {error.__context__ or error}"
    finally:
        sandbox.close()
    if "PermissionError" not in ran.stderr:
        return f"Landlock does not hold here: {ran.stdout or ran.stderr}; {CURE}"
    return ""


def open_() -> Landlock:
    """The sandbox of this process; its broker starts with the first call."""
    return Landlock()


@dataclass(eq=False)
class Landlock:
    """Calls through a broker, a fresh interpreter with one thread: about 2 ms each."""

    name: str = "landlock"
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _broker: Broker | None = field(default=None, repr=False)

    def run(
        self,
        code: str | Sequence[str],
        *,
        stdin: str = "",
        files: Files = NO_FILES,
        keep: Sequence[str] = (),
        limits: Limits = DEFAULT,
    ) -> Result:
        """Run once in a sandbox of its own."""
        asked = checked(code, stdin, files, keep, where="Landlock.run")
        link = self._connect(limits, is_session=False)
        try:
            return _call(link, asked, limits)
        finally:
            link.close()

    def session(self, *, files: Files = NO_FILES, limits: Limits = DEFAULT) -> LandlockSession:
        """A sandbox that lasts."""
        asked = checked("", "", files, (), where="Landlock.session")
        return LandlockSession(self, asked.files, limits)

    def close(self) -> None:
        """End the broker, and with it all that still runs."""
        with self._lock:
            broker, self._broker = self._broker, None
        if broker and broker.owner == os.getpid():
            broker.close()

    def _connect(self, limits: Limits, *, is_session: bool) -> socket.socket:
        """A connection to a new leader, which knows its limits."""
        from evolvent.envs.sandbox import landlock_fence as fence
        from evolvent.envs.sandbox.landlock_broker import send
        from evolvent.envs.sandbox.landlock_filter import compiled

        program = compiled(os.geteuid() == 0, fence.abi())
        with self._lock:
            if self._broker is None or not self._broker.is_well():
                self._broker = Broker()
            link = self._broker.connect()
        send(link, {"limits": asdict(limits), "is_session": is_session}, [program])
        return link


@dataclass(eq=False)
class LandlockSession:
    """One leader for as long as the session lasts."""

    sandbox: Landlock
    files: Mapping[str, bytes]
    limits: Limits
    _link: socket.socket | None = field(default=None, repr=False)
    _replay: Replay = field(default_factory=Replay, repr=False)
    _is_closed: bool = False

    def run(
        self, code: str | Sequence[str], *, stdin: str = "", files: Files = NO_FILES, keep: Sequence[str] = ()
    ) -> Result:
        """Run Python code in the session's interpreter, or a command in its working folder."""
        if self._is_closed:
            raise BadInput("this session is closed", where="Session.run")
        asked = checked(code, stdin, files, keep, where="Session.run")
        if self._link is None:
            self._link = self.sandbox._connect(self.limits, is_session=True)
            asked = Asked(asked.code, asked.argv, stdin, {**self.files, **asked.files}, asked.keep)
        try:
            result = _call(self._link, asked, self.limits)
        except InfrastructureError:
            self.close()
            raise
        self._replay.add(asked, result)
        return result

    def snapshot(self) -> bytes:
        """The calls so far."""
        return self._replay.state()

    def restore(self, state: bytes) -> None:
        """Go back to a snapshot: a fresh sandbox, the same calls."""
        self._drop()
        self._is_closed = False
        self._replay.restore(state, self.run)

    def close(self) -> None:
        """End it with all its processes and files."""
        self._is_closed = True
        self._drop()

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link:
            _hang_up(link)

    def __enter__(self) -> LandlockSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Broker:
    """The process that forks leaders, and the folder below which they work; both go when this process does."""

    def __init__(self) -> None:
        package = Path(__file__).resolve().parent
        folders = [str(folder) for folder in (package.parents[1], package.parent, package)]
        self.owner = os.getpid()
        self.home = tempfile.mkdtemp(prefix="evolvent-landlock-")
        Path(self.home).chmod(0o711)
        self.control, theirs = socket.socketpair()
        words = [os.path.realpath(sys.executable), "-I", "-S", "-B", "-c", BOOT, str(theirs.fileno()), self.home]
        try:
            self.process = subprocess.Popen(
                [*words, *folders], pass_fds=[theirs.fileno()], env={"LANG": "C.UTF-8"}, cwd="/",
                start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )  # fmt: skip
        finally:
            theirs.close()
        self.control.settimeout(START_S)
        if self.control.recv(1) != b".":
            said = self.process.communicate()[1].decode("utf-8", "replace").strip().splitlines()
            raise InfrastructureError("the sandbox's broker does not start", got=said[-1] if said else "no word")

    def is_well(self) -> bool:
        """Whether it runs, and belongs to this process and not to the one that this was forked from."""
        return self.owner == os.getpid() and self.process.poll() is None

    def connect(self) -> socket.socket:
        """One end of a connection, the other end of which a new leader has."""
        ours, theirs = socket.socketpair()
        try:
            socket.send_fds(self.control, [b"c"], [theirs.fileno()])
        except OSError as error:
            ours.close()
            raise InfrastructureError("the sandbox's broker has gone", got=error) from error
        finally:
            theirs.close()
        return ours

    def close(self) -> None:
        """End it, and wait until it has cleaned up."""
        self.control.close()
        try:
            self.process.communicate(timeout=GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


def _call(link: socket.socket, asked: Asked, limits: Limits) -> Result:
    """Send a call to a leader and wait for what comes of it, never much longer than its limit."""
    from evolvent.envs.sandbox.landlock_broker import receive, send

    link.settimeout(limits.wall_s + GRACE_S)
    header = {"argv": list(asked.argv), "files": list(asked.files), "keep": list(asked.keep)}
    try:
        send(link, header, [asked.source, asked.stdin.encode("utf-8", "surrogatepass"), *asked.files.values()])
        told, (out, err, *contents) = receive(link)
    except (OSError, EOFError, ValueError) as error:
        raise InfrastructureError("the sandbox did not answer", where="landlock", got=repr(error)) from error
    if "broken" in told:
        raise InfrastructureError("the sandbox cannot close", where="landlock", got=told["broken"])
    return _result(told, out, err, contents)


def _result(told: Mapping[str, Any], out: bytes, err: bytes, contents: Sequence[bytes]) -> Result:
    usage = Usage(told["wall_s"], told["cpu_s"], told["memory"])
    stdout, stderr = (text.decode("utf-8", "replace") for text in (out, err))
    kept = dict(zip(told["kept"], contents, strict=True))
    return Result(stdout, stderr, told["exit"], Ended(told["outcome"]), usage, kept)


def _hang_up(link: socket.socket) -> None:
    """Close a connection and wait until its leader has cleaned up behind itself and gone."""
    link.shutdown(socket.SHUT_WR)
    if select.select([link], [], [], GRACE_S)[0]:
        link.close()
