"""A sandbox by docker or podman: one container for a call or a session, without network, rights or a writable system.

The image needs `python3`, `cat` and nothing else, and has to be on this machine: nothing is pulled. Its name is
EVOLVENT_CONTAINER_IMAGE, else docker.io/library/python:3.11-slim; further words for the engine's `run` (such as
`--runtime runsc`) are EVOLVENT_CONTAINER_OPTIONS.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType

from evolvent.envs.sandbox.asked import Replay, checked
from evolvent.envs.sandbox.container_inside import CELLS, END, SOURCE, PUT, SCRIPT, TAKE
from evolvent.envs.sandbox.container_pipes import Ran, communicate, end, follow_cell
from evolvent.envs.sandbox.limits import Ended, Limits, Result, Usage
from evolvent.envs.sandbox.tier import DEFAULT, NO_FILES, Files
from evolvent.errors import BadInput, EvolventError, InfrastructureError

IMAGE = "docker.io/library/python:3.11-slim"
USER, START_S, GRACE_S = "65534:65534", 60.0, 30.0
PYTHON = ("python3", "-I", "-S", "-c")


def probe() -> str:
    """Nothing where a container really runs, else why not and the cure."""
    if not engines():
        return "neither docker nor podman is here; install one of them"
    sandbox = open_()
    try:
        ran = sandbox.run("print(1 + 1)", limits=Limits(wall_s=START_S))
    except EvolventError as error:
        return f"{error.what}; {error.cure}" if error.cure else f"{error.what}: {error.args[0]}"
    return "" if ran.stdout == "2\n" else f"1 + 1 gives {ran.stdout or ran.stderr}"


def open_() -> Container:
    """The engine that answers, with the image and options of the environment."""
    found = engines()
    answering = [engine for engine in found if _answers(engine)]
    image = os.environ.get("EVOLVENT_CONTAINER_IMAGE", IMAGE)
    options = tuple(shlex.split(os.environ.get("EVOLVENT_CONTAINER_OPTIONS", "")))
    return Container((answering or found or ["docker"])[0], image, options)


def engines() -> list[str]:
    """Command lines for containers that are installed."""
    return [engine for engine in ("docker", "podman") if shutil.which(engine)]


def _answers(engine: str) -> bool:
    try:
        return subprocess.run([engine, "info"], capture_output=True, timeout=10, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@dataclass(eq=False)
class Container:
    """A fresh container per call: some tenths of a second each."""

    engine: str = "docker"
    image: str = IMAGE
    options: tuple[str, ...] = ()
    name: str = "container"

    def run(
        self,
        code: str | Sequence[str],
        *,
        stdin: str = "",
        files: Files = NO_FILES,
        keep: Sequence[str] = (),
        limits: Limits = DEFAULT,
    ) -> Result:
        """Run once in a container of its own."""
        asked = checked(code, stdin, files, keep, where="Container.run")
        with _Box(self, limits) as box:
            box.put({**asked.files, **({} if asked.argv else {SOURCE: asked.source})})
            words = asked.argv or (*PYTHON, SCRIPT)
            ran = communicate(box.command(words), asked.stdin.encode("utf-8", "surrogatepass"), limits)
            return box.result(ran, asked.keep)

    def session(self, *, files: Files = NO_FILES, limits: Limits = DEFAULT) -> ContainerSession:
        """A container that lasts."""
        asked = checked("", "", files, (), where="Container.session")
        return ContainerSession(self, asked.files, limits)

    def close(self) -> None:
        """Nothing is kept warm."""


@dataclass(eq=False)
class ContainerSession:
    """One container, with one interpreter in it for code."""

    sandbox: Container
    files: Mapping[str, bytes]
    limits: Limits
    _box: _Box | None = field(default=None, repr=False)
    _interpreter: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _replay: Replay = field(default_factory=Replay, repr=False)
    _is_closed: bool = False

    def run(
        self, code: str | Sequence[str], *, stdin: str = "", files: Files = NO_FILES, keep: Sequence[str] = ()
    ) -> Result:
        """Run Python code in the session's interpreter, or a command in its working folder."""
        if self._is_closed:
            raise BadInput("this session is closed", where="Session.run")
        asked = checked(code, stdin, files, keep, where="Session.run")
        if self._box is None:
            self._box = _Box(self.sandbox, self.limits).__enter__()
            self._box.put(self.files)
        self._box.put(asked.files)
        given = asked.stdin.encode("utf-8", "surrogatepass")
        if asked.argv:
            ran = communicate(self._box.command(asked.argv), given, self.limits)
        else:
            ran = follow_cell(self._live(self._box), asked.source, given, self.limits)
        if ran.reason or (not asked.argv and ran.has_ended):
            self._end_interpreter(self._box)
        result = self._box.result(ran, asked.keep)
        self._replay.add(asked, result)
        return result

    def snapshot(self) -> bytes:
        """The calls so far."""
        return self._replay.state()

    def restore(self, state: bytes) -> None:
        """Go back to a snapshot: a fresh container, the same calls."""
        self._drop()
        self._is_closed = False
        self._replay.restore(state, self.run)

    def close(self) -> None:
        """End the container."""
        self._is_closed = True
        self._drop()

    def _live(self, box: _Box) -> subprocess.Popen[bytes]:
        if self._interpreter is None:
            self._interpreter = box.start((*PYTHON, CELLS))
        return self._interpreter

    def _end_interpreter(self, box: _Box) -> None:
        """End everything that runs in the container but the container itself."""
        box.end_all()
        interpreter, self._interpreter = self._interpreter, None
        if interpreter:
            end(interpreter)

    def _drop(self) -> None:
        box, self._box = self._box, None
        if box:
            self._end_interpreter(box)
            box.__exit__(None, None, None)

    def __enter__(self) -> ContainerSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Box:
    """One container: `cat` runs in it for as long as this process holds the other end of its stdin."""

    def __init__(self, sandbox: Container, limits: Limits) -> None:
        self.sandbox, self.limits = sandbox, limits
        self.name = f"evolvent-{os.getpid()}-{secrets.token_hex(6)}"

    def __enter__(self) -> _Box:
        words = [self.sandbox.engine, "run", "--rm", "-i", "--name", self.name, "--pull", "never"]
        self.holder = subprocess.Popen(
            [*words, *_bounds(self.limits, self.sandbox.engine), *self.sandbox.options, self.sandbox.image, "cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert self.holder.stdin and self.holder.stdout
        try:
            self.holder.stdin.write(b"there\n")
            self.holder.stdin.flush()
            is_there = self.holder.stdout.readline() == b"there\n"
        except BrokenPipeError:
            is_there = False
        if not is_there:
            said = self.holder.communicate()[1].decode("utf-8", "replace").strip().splitlines()
            raise InfrastructureError(
                f"{self.sandbox.engine} starts no container", where=self.sandbox.image, got=said[-1] if said else "",
                cure=f"start its service, and `{self.sandbox.engine} pull {self.sandbox.image}` "
                "or EVOLVENT_CONTAINER_IMAGE=NAME of one with python3 that is here",
            )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for words in (["kill"], ["rm", "-f"]):  # the first is quick, the second is for an engine that forgets
            subprocess.run(
                [self.sandbox.engine, *words, self.name], capture_output=True, check=False, timeout=GRACE_S
            )
            with suppress(subprocess.TimeoutExpired):
                self.holder.wait(GRACE_S / 10)
                break
        end(self.holder)

    def command(self, words: Sequence[str]) -> list[str]:
        """A command inside, as the engine's command outside."""
        return [self.sandbox.engine, "exec", "-i", "-u", USER, "-w", "/sandbox", self.name, *words]

    def start(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        """A command that goes on, with its three pipes."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self.command(words), stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, start_new_session=True
        )

    def put(self, files: Mapping[str, bytes]) -> None:
        """Write files inside, by a program inside."""
        if files:
            header = json.dumps([[name, len(content)] for name, content in files.items()]).encode() + b"\n"
            self._must((*PYTHON, PUT), header + b"".join(files.values()))

    def result(self, ran: Ran, keep: Sequence[str]) -> Result:
        """What came of it; the files are read after everything that could change them has ended."""
        found: dict[str, bytes] = {}
        if keep:
            most = str(self.limits.file_bytes)
            lines = self._must((*PYTHON, TAKE, most, *keep), b"").decode().splitlines()
            found = {name: bytes.fromhex(line[1:]) for name, line in zip(keep, lines, strict=False) if line[0] == "+"}
        texts = (ran.out.decode("utf-8", "replace"), ran.err.decode("utf-8", "replace"))
        return Result(*texts, ran.status, _outcome(ran), Usage(ran.wall_s), found)

    def end_all(self) -> None:
        """Kill everything inside that belongs to the user who runs code."""
        subprocess.run(
            self.command((*PYTHON, END)), capture_output=True, check=False, timeout=GRACE_S, stdin=subprocess.DEVNULL
        )

    def _must(self, words: Sequence[str], given: bytes) -> bytes:
        try:
            made = subprocess.run(self.command(words), input=given, capture_output=True, check=False, timeout=GRACE_S)
        except subprocess.TimeoutExpired as error:
            raise InfrastructureError("the container does not answer", where=self.name) from error
        if made.returncode:
            said = made.stderr.decode("utf-8", "replace").strip().splitlines()
            raise InfrastructureError("the container takes no files", where=self.name, got=said[-1] if said else "")
        return made.stdout


def _bounds(limits: Limits, engine: str) -> list[str]:
    """The engine's options: no network, no rights, a system that is read only, and the limits."""
    counted = f",nr_inodes={limits.num_files}" if engine == "docker" else ""  # podman does not know the word
    disk = f"rw,nosuid,nodev,size={limits.disk_bytes}{counted},mode=1777"
    return [
        "--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        "--memory", str(limits.memory_bytes), "--memory-swap", str(limits.memory_bytes),
        "--pids-limit", str(limits.num_processes + 4), "--tmpfs", f"/sandbox:exec,{disk}", "--tmpfs", f"/tmp:{disk}",
        "--shm-size", "16m", "--ulimit", f"nofile={max(limits.num_open_files, 32)}", "--ulimit", "nproc=1024:1024",
        "--ulimit", "core=0", "--ulimit", f"fsize={limits.file_bytes}", "--ulimit", f"cpu={math.ceil(limits.cpu_s)}:{math.ceil(limits.cpu_s) + 1}",
        "--ulimit", f"data={limits.memory_bytes}", "-e", "HOME=/sandbox", "-e", "LANG=C.UTF-8", "-w", "/sandbox",
    ]  # fmt: skip


def _outcome(ran: Ran) -> Ended:
    if ran.reason:
        return ran.reason
    if ran.err.rstrip().rpartition(b"\n")[2].startswith(b"MemoryError"):
        return Ended.OUT_OF_MEMORY
    if ran.status < 0:
        return Ended.TIMED_OUT if -ran.status == signal.SIGXCPU else Ended.KILLED
    return Ended.FAILED if ran.status else Ended.OK
