"""What every way to isolate code promises, from a barrier of the system to an interpreter with nothing to escape to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Protocol

from evolvent.envs.sandbox.limits import Limits, Result

Files = Mapping[str, bytes]
NO_FILES: Files = MappingProxyType({})
DEFAULT = Limits()


class Session(Protocol):
    """A sandbox that lasts: names of Python code and files of the working folder stay from call to call.

    Entered as a context, and gone with all its processes and files when that is left. `Limits` are those of each
    call, `disk_bytes` and `num_files` those of the whole session. A call that hits a limit ends the session's
    interpreter: names are lost, files stay.
    """

    def run(
        self, code: str | Sequence[str], *, stdin: str = "", files: Files = NO_FILES, keep: Sequence[str] = ()
    ) -> Result:
        """Run Python code in the session's interpreter, or a command (argv) in its working folder."""
        ...

    def snapshot(self) -> bytes:
        """The calls so far; `restore` plays them again in a fresh session."""
        ...

    def restore(self, state: bytes) -> None:
        """Go back to a snapshot by replay; InfrastructureError where the replay says something else."""
        ...

    def close(self) -> None:
        """End it; a second time is no error."""
        ...

    def __enter__(self) -> Session: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Sandbox(Protocol):
    """One tier at work. Its calls block up to their deadline, and any thread may make them.

    Code is Python source; a sequence of texts is a command. `files` are put into the working folder (the current one,
    writable, empty otherwise) by relative path, and so are `keep` read back. Nothing else of the host can be written or
    reached, and nothing of one call is seen by the next. What the code does wrong is in the Result; InfrastructureError
    means that the sandbox itself broke.
    """

    name: str

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
        ...

    def session(self, *, files: Files = NO_FILES, limits: Limits = DEFAULT) -> Session:
        """A sandbox that lasts; BadInput where the tier has none."""
        ...

    def close(self) -> None:
        """End what is kept warm."""
        ...
