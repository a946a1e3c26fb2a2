"""A world with a shell for one agent: commands run in a sandbox whose working folder is the task's environment.

When the agent has ended, its files are taken out as data, its processes go with its sandbox, and the hidden tests run
over the files in a sandbox where the agent never was.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from evolvent.envs.one_seat import OneSeat
from evolvent.envs.sandbox import Ended, Result, Sandbox, Session, best
from evolvent.envs.shell_files import TAR, Left, read_left
from evolvent.envs.shell_image import room_of, sandbox_for
from evolvent.envs.shell_room import APP
from evolvent.envs.shell_tests import FINAL, PREPARE, Verdict, bounds, exports, given, judge_files
from evolvent.envs.tools import validate
from evolvent.errors import BadInput, ToolError
from evolvent.records import Reference, Task, Tool
from evolvent.tasks.formats.harbor import HarborTask

KEY = "world"
TOOL = Tool(
    "shell",
    "Run a command with bash in the task's folder. Files stay, but each call starts in that folder again.",
    {
        "type": "object",
        "properties": {"command": {"type": "string", "description": "what bash runs"}},
        "required": ["command"],
    },
)


@dataclass(frozen=True)
class Shell:
    """Opens the task folder that a task's private part names by reference, under the key `world`.

    `timeout_s` bounds a command, and the task's own time all of them together. `sandbox` names a tier; None is the
    best one here.
    """

    max_calls: int = 16
    max_bytes: int = 4096
    timeout_s: float = 30.0
    sandbox: str | None = None

    def open(self, task: Task, seed: int) -> OpenShell:
        """A fresh room for one episode."""
        return OpenShell(self, folder_of(task), best(self.sandbox))


def folder_of(task: Task) -> HarborTask:
    """The task folder that a task is about."""
    if task.private is None or not isinstance(task.private.data.get(KEY), Mapping):
        raise BadInput(
            "the task names no task folder",
            where=task.task_id,
            wanted=f"private.data[{KEY!r}] = path and arguments of a function that gives one",
            cure="use a source of them, such as evolvent.synthesis.harbor:HarborTasks",
        )
    named = task.private.data[KEY]
    return _loaded(str(named["path"]), json.dumps(named.get("arguments", {}), sort_keys=True))


def name_folder(reference: Reference) -> Mapping[str, Any]:
    """What goes into a task's private data."""
    return {KEY: {"path": reference.path, "arguments": dict(reference.arguments)}}


class OpenShell(OneSeat):
    """The live shell of one episode; its session begins with the first command."""

    def __init__(self, plan: Shell, folder: HarborTask, sandbox: Sandbox) -> None:
        super().__init__(plan.max_calls, plan.max_bytes)
        self.plan, self.folder, self.sandbox = plan, folder, sandbox
        self.room = room_of(folder)
        self.used_s = 0.0
        self._session: Session | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def offered(self) -> tuple[Tool, ...]:
        """One tool: shell."""
        return (TOOL,)

    async def run(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Run one command; what it prints comes back, and its status where that is not 0."""
        validate(TOOL, arguments)
        if self.used_s >= self.folder.agent_s:
            raise ToolError(f"no time left: {self.folder.agent_s:g} s is the limit", cure="answer now")
        ran = await asyncio.to_thread(self._carry_out, str(arguments["command"]))
        self.used_s += ran.usage.wall_s
        return _told(ran, self.plan.timeout_s)

    def verdict(self) -> tuple[Verdict, Left]:
        """End the agent's sandbox, and test what it left."""
        left = self.left()
        self.close()
        return judge_files(self.sandbox, self.folder, left), left

    async def evidence(self) -> dict[str, Any]:
        """The reward, all rewards by name, what the tests printed, and the digest of the files that were left."""
        verdict, left = await asyncio.to_thread(self.verdict)
        told = {"reward": verdict.reward, "rewards": dict(verdict.rewards), "log": verdict.log, "why": verdict.why}
        return {**told, "files": left.digest, "folder": self.folder.digest, "num_calls": self.num_calls}

    def left(self) -> Left:
        """The files as they are now."""
        ran = self._open().run(["/bin/sh", "-c", f"rm -rf {FINAL}; {TAR} {FINAL} ."], keep=(FINAL,))
        return read_left(ran.files.get(FINAL))

    def snapshot(self) -> bytes:
        """The commands so far; `restore` plays them again."""
        state = self._open().snapshot().hex()
        return json.dumps({"num_calls": self.num_calls, "used_s": self.used_s, "session": state}).encode()

    def restore(self, state: bytes) -> None:
        """Go back to a snapshot by replay."""
        found = json.loads(state)
        self._open().restore(bytes.fromhex(found["session"]))
        self.num_calls, self.used_s = int(found["num_calls"]), float(found["used_s"])

    def state_digest(self) -> str:
        """SHA-256 of the files, without times."""
        return self.left().digest

    def close(self) -> None:
        """End the sandbox with all its processes and files."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _carry_out(self, command: str) -> Result:
        script = f'{exports(self.room.variables or {})}\ncd {APP} && exec /bin/bash --noprofile --norc -c "$1" 2>&1'
        return self._open().run(["/bin/sh", "-c", script, "sh", command])

    def _open(self) -> Session:
        if self._session is None:
            limits = bounds(self.folder, self.plan.timeout_s)
            self._session = sandbox_for(self.room, self.sandbox).session(files=given(self.room), limits=limits)
            self._session.run(["/bin/sh", "-c", PREPARE])
        return self._session


def _told(ran: Result, timeout_s: float) -> str:
    printed = (ran.stdout + ran.stderr).rstrip("\n")
    if ran.outcome is Ended.TIMED_OUT:
        status = f"[ended after {timeout_s:g} s]"
    elif ran.outcome in (Ended.OK, Ended.FAILED):
        status = f"[exit {ran.exit}]" if ran.exit else ""
    else:
        status = f"[{ran.outcome}]"
    return "\n".join(part for part in (printed, status) if part) or "(no output)"


@functools.lru_cache(maxsize=64)
def _loaded(path: str, arguments: str) -> HarborTask:
    found = Reference(path, json.loads(arguments)).load()()
    if not isinstance(found, HarborTask):
        raise BadInput("this is no task folder", where=path, got=type(found).__name__, wanted="a HarborTask")
    return found
