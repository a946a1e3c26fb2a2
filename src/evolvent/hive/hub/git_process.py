"""Starts git for the hub: configured by what stands here and nothing else, and within limits of time and room."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from evolvent.errors import InfrastructureError

SEARCH = "/usr/local/bin:/usr/bin:/bin"
GRACE_S = 1.0
# by the shell and not in a forked copy of this process: that one is large, and has threads
_LIMITED = 'ulimit -c 0; ulimit -v "$1"; ulimit -t "$2"; ulimit -f "$3"; shift 3; exec "$@"'


@dataclass(frozen=True, slots=True)
class GitLimits:
    """What agents may use of the hub's disk and processors by means of git.

    `push_bytes` is the largest push, `fork_bytes` what a fork may take beyond its task, `num_refs` its branches and
    tags, `num_commits` how many commits of one push are told; `seconds` and `memory_mb` are of one process.
    """

    push_bytes: int = 16 * 2**20
    fork_bytes: int = 128 * 2**20
    num_refs: int = 256
    num_commits: int = 1000
    seconds: int = 60
    memory_mb: int = 1024
    diff_bytes: int = 200_000


class Git:
    """The git of this machine, for repositories that nobody has to trust; `home` is an empty folder it may look at."""

    def __init__(self, home: Path, limits: GitLimits | None = None, search: str = SEARCH) -> None:
        self.home, self.limits = home, limits or GitLimits()
        program = shutil.which("git", path=search)
        if program is None:
            raise InfrastructureError(
                "git is not installed, and the hub keeps what agents push in it",
                where=f"PATH={search}",
                cure="apt install git",
            )
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._program = program
        self._environment = _environment(home, search, self.limits)

    def run(
        self,
        *words: str,
        repository: Path | None = None,
        stdin: bytes | IO[bytes] = b"",
        most: int = 2**20,
        keep: Sequence[int] = (),
    ) -> tuple[int, bytes]:
        """The exit status and the first `most` bytes of the output; a process that takes too long is killed."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output:
            if isinstance(stdin, bytes):
                given.write(stdin)
                given.flush()
            source = given if isinstance(stdin, bytes) else stdin
            os.lseek(source.fileno(), 0, os.SEEK_SET)  # the child reads on from where the system stands, not Python
            process = subprocess.Popen(
                self._command(words),
                stdin=source,
                stdout=output,
                stderr=subprocess.DEVNULL,
                cwd=self.home,
                env=self._environment | ({"GIT_DIR": str(repository)} if repository else {}),
                start_new_session=True,
                pass_fds=tuple(keep),
            )
            status = _wait(process, self.limits.seconds)
            output.seek(0)
            return status, output.read(most)

    def ask(self, *words: str, repository: Path, stdin: bytes = b"", most: int = 2**24) -> bytes:
        """The output of a command that cannot fail on a sound repository."""
        status, output = self.run(*words, repository=repository, stdin=stdin, most=most)
        if status != 0:
            raise InfrastructureError("git failed", where=str(repository), got=f"git {words[0]}: status {status}")
        return output

    async def start(self, *words: str, stdin: int, stdout: int, protocol: str = "") -> asyncio.subprocess.Process:
        """A process between two open files."""
        return await asyncio.create_subprocess_exec(
            *self._command(words),
            stdin=stdin,
            stdout=stdout,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=self.home,
            env=self._environment | ({"GIT_PROTOCOL": protocol} if protocol else {}),
            start_new_session=True,
        )

    def _command(self, words: Sequence[str]) -> list[str]:
        limits = self.limits
        # files grow by what a thin pack borrows, which lies in the fork already
        blocks = 2 * (limits.fork_bytes + limits.push_bytes) // 512
        rooms = [str(limits.memory_mb * 1024), str(limits.seconds), str(max(blocks, 2**20))]
        return ["/bin/sh", "-c", _LIMITED, "sh", *rooms, self._program, *words]


async def end(process: asyncio.subprocess.Process) -> None:
    """Stop a process and what it started, gently first: a push that is told to stop clears away what it brought."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), GRACE_S)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        pass
    finally:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, sign)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE_S)
    return process.wait()


def _environment(home: Path, search: str, limits: GitLimits) -> dict[str, str]:
    settings = _settings(limits)
    numbered = {f"GIT_CONFIG_KEY_{i}": key for i, (key, _) in enumerate(settings)}
    numbered |= {f"GIT_CONFIG_VALUE_{i}": value for i, (_, value) in enumerate(settings)}
    return {
        "PATH": search,
        "HOME": str(home),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_COUNT": str(len(settings)),
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_TERMINAL_PROMPT": "0",
        **numbered,
    }


def _settings(limits: GitLimits) -> list[tuple[str, str]]:
    return [
        ("safe.directory", "*"),  # a hub may run as another user than the one who made its folder
        ("core.hooksPath", "/dev/null"),
        ("core.bigFileThreshold", "1m"),  # larger files are streamed, not held and compared
        ("core.fsync", "committed"),
        ("core.fsyncMethod", "batch"),
        ("core.attributesFile", "/dev/null"),
        ("gc.auto", "0"),  # commits stay
        ("maintenance.auto", "false"),
        ("receive.autogc", "false"),
        ("transfer.fsckObjects", "true"),
        ("transfer.hideRefs", "refs"),  # whatever is neither a branch nor a tag is the hub's own
        ("transfer.hideRefs", "!refs/heads"),
        ("transfer.hideRefs", "!refs/tags"),
        ("receive.denyDeleteCurrent", "refuse"),
        ("receive.maxInputSize", str(limits.push_bytes)),
        ("receive.advertisePushOptions", "false"),
        ("uploadpack.allowAnySHA1InWant", "true"),  # a run is fetched by its name
        ("pack.threads", "1"),
        ("pack.windowMemory", "64m"),
        ("fastimport.unpackLimit", "1"),  # one pack, quick to copy
        ("protocol.allow", "never"),
    ]
