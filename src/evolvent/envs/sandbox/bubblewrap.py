"""Runs code in namespaces of its own, made by bubblewrap without rights and kept warm as forks of one interpreter."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from evolvent.envs.sandbox.cgroups import Group, open_groups
from evolvent.envs.sandbox.limits import Ended, Limits, Result, Usage
from evolvent.envs.sandbox.names import check_files, check_names
from evolvent.envs.sandbox.replay import ReplaySession
from evolvent.envs.sandbox.seccomp import build_filter
from evolvent.envs.sandbox.tier import DEFAULT, NO_FILES, Files, Session
from evolvent.envs.sandbox.warm import Zygote
from evolvent.envs.sandbox.wire import get, put
from evolvent.errors import BadInput, EvolventError, InfrastructureError

GRACE_S = 5.0  # beyond its own limit, for the sandbox to say how a call ended
OLDEST_KERNEL = (5, 14)  # counts processes by user namespace

PRELOAD = ("collections", "functools", "itertools", "json", "math", "random", "re", "string")


def probe() -> str:
    """Nothing where this works, else why it does not, and the cure."""
    if sys.platform != "linux":
        return f"bubblewrap needs Linux, and this is {sys.platform}"
    if tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2]) < OLDEST_KERNEL:
        return f"it needs Linux 5.14 or newer, and this is {os.uname().release}"
    if not shutil.which("bwrap"):
        return "bwrap is not installed: apt install bubblewrap"
    try:
        sandbox = open_()
    except EvolventError as error:
        return " ".join(str(part) for part in (error.what, error.got, error.cure) if part)
    sandbox.close()
    return ""


def open_() -> Bubblewrap:
    """The sandbox, started and tried."""
    sandbox = Bubblewrap()
    try:
        sandbox.start()
    except BaseException:
        sandbox.close()
        raise
    return sandbox


class Bubblewrap:
    """See `Sandbox`. Boxes are made ahead of the calls; any number of threads may call at once."""

    name = "bubblewrap"

    def __init__(self, preload: Sequence[str] = PRELOAD, grace_s: float = GRACE_S) -> None:
        self._preload, self.grace_s = tuple(preload), grace_s
        self._lock = threading.Lock()
        self._zygote: Zygote | None = None
        self._retired: list[Zygote] = []
        self._groups = open_groups()
        self._is_closed = False

    def start(self) -> None:
        """Run something trivial; InfrastructureError says why it cannot."""
        try:
            self._try()
        except InfrastructureError:
            if self._groups is None:
                raise
            self._groups.close()  # the folders can be made and not be used: watch memory from outside instead
            self._groups = None
            self._try()

    def run(
        self,
        code: str | Sequence[str],
        *,
        stdin: str = "",
        files: Files = NO_FILES,
        keep: Sequence[str] = (),
        limits: Limits = DEFAULT,
    ) -> Result:
        """See `Sandbox.run`."""
        check_files(files, limits)
        check_names(keep)
        with self.open_box(limits, is_once=True) as box:
            return box.call(code, stdin, files, keep)

    def session(self, *, files: Files = NO_FILES, limits: Limits = DEFAULT) -> Session:
        """See `Sandbox.session`."""
        check_files(files, limits)
        return ReplaySession(lambda: self.open_box(limits, is_once=False), files, limits)

    def close(self) -> None:
        """See `Sandbox.close`."""
        self._is_closed = True
        with self._lock:
            for zygote in (*self._retired, *([self._zygote] if self._zygote else [])):
                zygote.close()
            self._retired.clear()
            self._zygote = None
        if self._groups:
            self._groups.close()

    def open_box(self, limits: Limits, is_once: bool) -> Box:
        """A box that waits for calls."""
        if self._is_closed:
            raise BadInput("this sandbox is closed", where=self.name, cure="open another one")
        group = self._groups.lend(limits) if self._groups else None
        try:
            asked = {"limits": {name: getattr(limits, name) for name in Limits.__slots__}, "is_once": is_once}
            call, zygote = self._send(asked, group.joins() if group else [])
        except BaseException:
            if group:
                group.remove()
            raise
        return Box(call, limits, _Lender(self, zygote, group), is_once)

    def _send(self, asked: dict[str, Any], groups: list[int]) -> tuple[socket.socket, Zygote]:
        for _ in range(2):  # one that died in between is started anew, once
            zygote = self._warm()
            with suppress(OSError):
                return zygote.ask(asked, groups), zygote
            self.retire(zygote)
        raise InfrastructureError("the sandbox died twice in a row", where=self.name)

    def _warm(self) -> Zygote:
        with self._lock:
            if self._zygote is None:
                homes = [str(home) for home in self._groups.homes] if self._groups else []
                self._zygote = Zygote(build_filter(), self._preload, homes)
            return self._zygote

    def retire(self, zygote: Zygote) -> None:
        """Make no more boxes there; those that it has go on."""
        with self._lock:
            if self._zygote is zygote:
                self._zygote = None
                self._retired.append(zygote)
            for over in [zygote for zygote in self._retired if zygote.is_over()]:
                over.close()
                self._retired.remove(over)

    def take_back(self, group: Group) -> None:
        """A group that its box is done with."""
        if self._groups:
            self._groups.take_back(group)

    def _try(self) -> None:
        result = self.run("print(6 * 7)")
        if result.stdout != "42\n":
            raise InfrastructureError("the sandbox runs, and not as it should", where=self.name, got=result)


@dataclass(frozen=True)
class _Lender:
    """Where a box came from."""

    sandbox: Bubblewrap
    zygote: Zygote
    group: Group | None


class Box:
    """The outer end of one box: sends calls, and waits for each no longer than its deadline."""

    def __init__(self, call: socket.socket, limits: Limits, lender: _Lender, is_once: bool) -> None:
        self._call, self._limits, self._lender, self._group = call, limits, lender, lender.group
        self._is_once, self._is_busy = is_once, False

    def call(self, code: str | Sequence[str], stdin: str, files: Files, keep: Sequence[str]) -> Result:
        """One call to its end."""
        kind, words, source = _read_code(code, self._is_once)
        asked = {"kind": kind, "words": words, "files": list(files), "keep": list(keep)}
        patience_s = self._limits.wall_s + self._lender.sandbox.grace_s
        deadline = time.monotonic() + patience_s
        if self._group:
            self._group.begin()
        self._is_busy = True  # until the answer is here: an interrupted call has no second one
        try:
            self._call.settimeout(patience_s)
            put(self._call, asked, [source, stdin.encode(errors="surrogatepass"), *files.values()])
            answer, blobs = get(self._call, deadline)
        except (OSError, EOFError) as error:
            self._lender.sandbox.retire(self._lender.zygote)
            raise InfrastructureError(
                "the sandbox did not answer", where="bubblewrap", got=f"{type(error).__name__}: {error}"
            ) from error
        self._is_busy = False
        if "broken" in answer:
            raise InfrastructureError("the sandbox broke", where="bubblewrap", got=answer["broken"])
        return self._result(answer, blobs)

    def close(self) -> None:
        """End it with all that runs in it."""
        if not self._is_once and not self._is_busy:
            self._await_end()
        self._call.close()
        if self._group:
            self._lender.sandbox.take_back(self._group)
            self._group = None

    def __enter__(self) -> Box:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _await_end(self) -> None:
        with suppress(OSError):
            self._call.shutdown(socket.SHUT_WR)
            self._call.settimeout(GRACE_S)
            self._call.recv(1)

    def _result(self, answer: dict[str, Any], blobs: list[bytes]) -> Result:
        stdout, stderr, *contents = blobs
        outcome, memory = Ended(answer["ended"]), answer.get("max_memory_bytes", 0)
        if self._group:
            memory = max(memory, self._group.max_bytes())
            if answer["exit"] != 0 and outcome is not Ended.TIMED_OUT and self._group.killed():
                outcome = Ended.OUT_OF_MEMORY
        error = stderr.decode(errors="replace")
        if outcome is Ended.FAILED and error.rstrip().rpartition("\n")[2].startswith("MemoryError"):
            outcome = Ended.OUT_OF_MEMORY
        return Result(
            stdout.decode(errors="replace"),
            error,
            answer["exit"],
            outcome,
            Usage(answer.get("wall_s", 0.0), answer.get("cpu_s", 0.0), memory),
            dict(zip(answer["files"], contents, strict=True)),
        )


def _read_code(code: str | Sequence[str], is_once: bool) -> tuple[str, list[str], bytes]:
    if isinstance(code, str):
        return "script" if is_once else "cell", [], code.encode(errors="surrogatepass")
    if not code:
        raise BadInput("a command needs a first word", got=code, wanted='for example ["ls", "-l"]')
    return "command", list(code), b""
