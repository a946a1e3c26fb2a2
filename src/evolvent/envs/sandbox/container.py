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
from dataclasses import dataclass

from evolvent.envs.sandbox.asked import command_of, source_of
from evolvent.envs.sandbox.container_filter import profile_path
from evolvent.envs.sandbox.container_inside import CELLS, END, PUT, SCRIPT, SOURCE, TAKE
from evolvent.envs.sandbox.container_pipes import Ran, communicate, end, follow_cell
from evolvent.envs.sandbox.limits import Ended, Limits, Result, Usage
from evolvent.envs.sandbox.names import check_files, check_names
from evolvent.envs.sandbox.replay import ReplaySession
from evolvent.envs.sandbox.tier import DEFAULT, NO_FILES, Files, Session
from evolvent.errors import EvolventError, InfrastructureError

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
        check_files(files, limits)
        check_names(keep)
        with Box(self, limits) as box:
            return box.run_once(code, stdin, files, keep)

    def session(self, *, files: Files = NO_FILES, limits: Limits = DEFAULT) -> Session:
        """A container that lasts, with one interpreter in it for code."""
        check_files(files, limits)
        return ReplaySession(lambda: Box(self, limits), files, limits)

    def close(self) -> None:
        """Nothing is kept warm."""


class Box:
    """One container: `cat` runs in it for as long as this process holds the other end of its stdin."""

    def __init__(self, sandbox: Container, limits: Limits) -> None:
        self.sandbox, self.limits = sandbox, limits
        self.name = f"evolvent-{os.getpid()}-{secrets.token_hex(6)}"
        self.interpreter: subprocess.Popen[bytes] | None = None
        self.holder = self._started()

    def run_once(self, code: str | Sequence[str], stdin: str, files: Files, keep: Sequence[str]) -> Result:
        """A script or a command, and nothing after it."""
        source = source_of(code)
        self._put(files if source is None else {**files, SOURCE: source})
        words = command_of(code) or [*PYTHON, SCRIPT]
        return self._result(communicate(self._command(words), _encoded(stdin), self.limits), keep)

    def call(self, code: str | Sequence[str], stdin: str, files: Files, keep: Sequence[str]) -> Result:
        """One call of a session; a limit ends its interpreter and everything else that runs inside."""
        argv, source = command_of(code), source_of(code)
        self._put(files)
        if source is None:
            ran = communicate(self._command(argv), _encoded(stdin), self.limits)
        else:
            ran = follow_cell(self._live(), source, _encoded(stdin), self.limits)
        if ran.reason or (source is not None and ran.has_ended):
            self._end_interpreter()
        return self._result(ran, keep)

    def close(self) -> None:
        """End the container and wait until it is gone."""
        for words in (["kill"], ["rm", "-f"]):  # the first is quick, the second is for an engine that forgets
            subprocess.run([self.sandbox.engine, *words, self.name], capture_output=True, check=False, timeout=GRACE_S)
            with suppress(subprocess.TimeoutExpired):
                self.holder.wait(GRACE_S / 10)
                break
        for process in (self.holder, self.interpreter):
            if process:
                end(process)

    def __enter__(self) -> Box:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _started(self) -> subprocess.Popen[bytes]:
        words = [self.sandbox.engine, "run", "--rm", "-i", "--name", self.name, "--pull", "never"]
        holder = subprocess.Popen(
            [*words, *bounds_of(self.limits, self.sandbox.engine), *self.sandbox.options, self.sandbox.image, "cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert holder.stdin and holder.stdout
        try:
            holder.stdin.write(b"there\n")
            holder.stdin.flush()
            is_there = holder.stdout.readline() == b"there\n"
        except BrokenPipeError:
            is_there = False
        if not is_there:
            said = holder.communicate()[1].decode("utf-8", "replace").strip().splitlines()
            raise InfrastructureError(
                f"{self.sandbox.engine} starts no container of {self.sandbox.image}", where="container",
                got=said[-1] if said else "",
                cure=f"`{self.sandbox.engine} pull {self.sandbox.image}`, or EVOLVENT_CONTAINER_IMAGE=NAME of one here",
            )  # fmt: skip
        return holder

    def _command(self, words: Sequence[str]) -> list[str]:
        """A command inside, as the engine's command outside."""
        return [self.sandbox.engine, "exec", "-i", "-u", USER, "-w", "/sandbox", self.name, *words]

    def _live(self) -> subprocess.Popen[bytes]:
        if self.interpreter is None:
            pipe = subprocess.PIPE
            words = self._command([*PYTHON, CELLS])
            self.interpreter = subprocess.Popen(
                words, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, start_new_session=True
            )
        return self.interpreter

    def _end_interpreter(self) -> None:
        """Kill everything inside that belongs to the user who runs code."""
        words = self._command([*PYTHON, END])
        subprocess.run(words, capture_output=True, check=False, timeout=GRACE_S, stdin=subprocess.DEVNULL)
        interpreter, self.interpreter = self.interpreter, None
        if interpreter:
            end(interpreter)

    def _put(self, files: Mapping[str, bytes]) -> None:
        """Write files inside, by a program inside."""
        if files:
            header = json.dumps([[name, len(content)] for name, content in files.items()]).encode() + b"\n"
            self._must([*PYTHON, PUT], header + b"".join(files.values()))

    def _result(self, ran: Ran, keep: Sequence[str]) -> Result:
        """What came of it; the files are read after everything that could change them has ended."""
        found: dict[str, bytes] = {}
        if keep:
            most = str(self.limits.file_bytes)
            lines = self._must([*PYTHON, TAKE, most, *keep], b"").decode().splitlines()
            found = {name: bytes.fromhex(line[1:]) for name, line in zip(keep, lines, strict=False) if line[0] == "+"}
        texts = (ran.out.decode("utf-8", "replace"), ran.err.decode("utf-8", "replace"))
        return Result(*texts, ran.status, _outcome(ran), Usage(ran.wall_s), found)

    def _must(self, words: Sequence[str], given: bytes) -> bytes:
        try:
            made = subprocess.run(self._command(words), input=given, capture_output=True, check=False, timeout=GRACE_S)
        except subprocess.TimeoutExpired as error:
            raise InfrastructureError("the container does not answer", where=self.name) from error
        if made.returncode:
            said = made.stderr.decode("utf-8", "replace").strip().splitlines()
            raise InfrastructureError("the container takes no files", where=self.name, got=said[-1] if said else "")
        return made.stdout


def bounds_of(limits: Limits, engine: str) -> list[str]:
    """The engine's options: no network, no rights, a system that is read only, and the limits."""
    cpu_s = math.ceil(limits.cpu_s)
    # docker has a filter of its own, which allows by name; podman would make /var/tmp and /run writable
    podman = ["--security-opt", f"seccomp={profile_path()}", "--read-only-tmpfs=false"]
    own = [] if engine == "docker" else podman
    counted = f",nr_inodes={limits.num_files}" if engine == "docker" else ""  # podman does not know the word
    disk = f"rw,nosuid,nodev,size={limits.disk_bytes}{counted},mode=1777"
    return [
        *own, "--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        "--memory", str(limits.memory_bytes), "--memory-swap", str(limits.memory_bytes),
        "--pids-limit", str(limits.num_processes + 4), "--tmpfs", f"/sandbox:exec,{disk}", "--tmpfs", f"/tmp:{disk}",
        "--shm-size", "16m", "--ulimit", f"nofile={max(limits.num_open_files, 32)}", "--ulimit", "nproc=1024:1024",
        "--ulimit", "core=0", "--ulimit", f"fsize={limits.file_bytes}", "--ulimit", f"cpu={cpu_s}:{cpu_s + 1}",
        "--ulimit", f"data={limits.memory_bytes}", "-e", "HOME=/sandbox", "-e", "LANG=C.UTF-8", "-w", "/sandbox",
    ]  # fmt: skip


def _encoded(stdin: str) -> bytes:
    return stdin.encode("utf-8", "surrogatepass")


def _outcome(ran: Ran) -> Ended:
    if ran.reason:
        return ran.reason
    if ran.err.rstrip().rpartition(b"\n")[2].startswith(b"MemoryError"):
        return Ended.OUT_OF_MEMORY
    if ran.status < 0:
        return Ended.TIMED_OUT if -ran.status == signal.SIGXCPU else Ended.KILLED
    return Ended.FAILED if ran.status else Ended.OK
