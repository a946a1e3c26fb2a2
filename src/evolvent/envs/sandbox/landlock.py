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
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from evolvent.envs.sandbox.asked import command_of, source_of
from evolvent.envs.sandbox.limits import Ended, Limits, Result, Usage
from evolvent.envs.sandbox.names import check_files, check_names
from evolvent.envs.sandbox.replay import ReplaySession
from evolvent.envs.sandbox.tier import DEFAULT, NO_FILES, Files, Session
from evolvent.errors import EvolventError, InfrastructureError

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
        check_files(files, limits)
        check_names(keep)
        box = Box(self._connect(limits, is_session=False), limits)
        try:
            return box.call(code, stdin, files, keep)
        finally:
            box.close()

    def session(self, *, files: Files = NO_FILES, limits: Limits = DEFAULT) -> Session:
        """A sandbox that lasts: one leader for all its calls."""
        check_files(files, limits)
        return ReplaySession(lambda: Box(self._connect(limits, is_session=True), limits), files, limits)

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


class Box:
    """The outer end of one sandbox: sends calls to its leader, and waits never much longer than they may take."""

    def __init__(self, link: socket.socket, limits: Limits) -> None:
        self.link, self.limits = link, limits

    def call(self, code: str | Sequence[str], stdin: str, files: Files, keep: Sequence[str]) -> Result:
        """One call to its end."""
        from evolvent.envs.sandbox.landlock_broker import receive, send

        header = {"argv": command_of(code), "files": list(files), "keep": list(keep)}
        blobs = [source_of(code) or b"", stdin.encode("utf-8", "surrogatepass"), *files.values()]
        self.link.settimeout(self.limits.wall_s + GRACE_S)
        try:
            send(self.link, header, blobs)
            told, (out, err, *contents) = receive(self.link)
        except (OSError, EOFError, ValueError) as error:
            raise InfrastructureError("the sandbox did not answer", where="landlock", got=repr(error)) from error
        if "broken" in told:
            raise InfrastructureError("the sandbox broke", where="landlock", got=told["broken"])
        usage = Usage(told["wall_s"], told["cpu_s"], told["memory"])
        texts = (out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))
        return Result(
            *texts, told["exit"], Ended(told["outcome"]), usage, dict(zip(told["kept"], contents, strict=True))
        )

    def close(self) -> None:
        """Hang up, and wait until the leader has cleaned up behind itself and gone."""
        with suppress(OSError):
            self.link.shutdown(socket.SHUT_WR)
            select.select([self.link], [], [], GRACE_S)
        self.link.close()


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
