"""Tools for a Toolbox that run what a model wrote: Python cell by cell, and command lines, each in a sandbox."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

from evolvent.envs.sandbox.choose import best
from evolvent.envs.sandbox.limits import Ended, Limits, Result
from evolvent.envs.sandbox.tier import Session
from evolvent.records import Task, ToolResult

MAX_CALLS_AT_ONCE = 64
LIMITS = Limits(wall_s=5.0, cpu_s=5.0, output_bytes=8 * 2**10)


@dataclass(frozen=True)
class Python:
    """A notebook for each episode: names and files stay from call to call."""

    limits: Limits = LIMITS
    tier: str | None = None
    files: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    name: str = "python"

    def open(self, task: Task, seed: int) -> OpenPython:
        """A notebook for one episode, whose chance is that of the seed."""
        return OpenPython(self, seed)


@dataclass(frozen=True)
class Shell:
    """A command line for each episode: files stay from call to call, variables do not."""

    limits: Limits = LIMITS
    tier: str | None = None
    files: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    name: str = "shell"

    def open(self, task: Task, seed: int) -> OpenShell:
        """A working folder for one episode."""
        return OpenShell(self, seed)


class _Live:
    """A session that starts with its first call, so that an episode without calls costs nothing."""

    def __init__(self, plan: Python | Shell, seed: int) -> None:
        self.name = plan.name
        # the sandbox bounds its calls itself: a second clock would only leave them running
        self.timeout_s = plan.limits.wall_s
        self._plan, self._seed = plan, seed
        self._lock = threading.Lock()
        self._session: Session | None = None

    def snapshot(self) -> bytes:
        """The calls so far; nothing before the first."""
        return self._session.snapshot() if self._session else b""

    def restore(self, state: bytes) -> None:
        """Play the calls of a snapshot again in a fresh sandbox."""
        self.close()
        if state:
            self._session = self._start()
            self._session.restore(state)

    def close(self) -> None:
        """End the session."""
        session, self._session = self._session, None
        if session:
            session.close()

    async def _run(self, code: str | Sequence[str], show: Callable[[Result], ToolResult]) -> ToolResult:
        return show(await asyncio.get_running_loop().run_in_executor(_threads(), self._run_here, code))

    def _run_here(self, code: str | Sequence[str]) -> Result:
        with self._lock:
            if self._session is None:
                self._session = self._start()
                if isinstance(self._plan, Python):
                    self._session.run(f"import random; random.seed({self._seed}); del random")
            return self._session.run(code)

    def _start(self) -> Session:
        return best(self._plan.tier).session(files=self._plan.files, limits=self._plan.limits)


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    # they only wait: the few of asyncio's own pool would make episodes wait for each other
    return ThreadPoolExecutor(MAX_CALLS_AT_ONCE, "sandbox")


class OpenPython(_Live):
    """The notebook of one episode."""

    async def __call__(self, code: str) -> ToolResult:
        """Run Python code. Names stay from call to call; the value of a last expression is shown.

        code: for example sum(range(10))
        """
        return await self._run(code, self._show)

    def _show(self, result: Result) -> ToolResult:
        lost = "names are lost, files stay" if result.outcome not in (Ended.OK, Ended.FAILED) else ""
        return _shown(self.name, result, self._plan.limits, lost)


class OpenShell(_Live):
    """The working folder of one episode."""

    async def __call__(self, command: str) -> ToolResult:
        """Run a command line with /bin/sh. Files in the working folder stay from call to call.

        command: for example ls -l
        """
        return await self._run(["/bin/sh", "-c", command], self._show)

    def _show(self, result: Result) -> ToolResult:
        status = f"exit status {result.exit}" if result.outcome is Ended.FAILED else ""
        return _shown(self.name, result, self._plan.limits, status)


def _shown(name: str, result: Result, limits: Limits, note: str) -> ToolResult:
    """Both outputs in their order, and in brackets what an agent could not see from them."""
    bounds = {
        Ended.TIMED_OUT: f"stopped after {limits.wall_s:g} s",
        Ended.OUT_OF_MEMORY: f"out of memory: {limits.memory_bytes >> 20} MiB is the limit",
        Ended.TOO_MUCH_OUTPUT: f"stopped: more output than {limits.output_bytes} bytes",
        Ended.KILLED: f"killed by signal {-result.exit}" if result.exit < 0 else "killed",
    }
    notes = [text for text in (bounds.get(result.outcome, ""), note) if text]
    output = "\n".join(text.rstrip("\n") for text in (result.stdout, result.stderr) if text)
    text = "\n".join([*([output] if output else []), *([f"[{'; '.join(notes)}]"] if notes else [])])
    return ToolResult(name, text or "[no output]", result.outcome is not Ended.OK)
