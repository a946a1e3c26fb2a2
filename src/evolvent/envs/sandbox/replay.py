"""Makes a session out of a box: remembers its calls, so that a snapshot is a list and restoring is playing it again."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol

from evolvent.envs.sandbox.limits import Ended, Limits, Result
from evolvent.envs.sandbox.names import check_files, check_names
from evolvent.envs.sandbox.tier import NO_FILES, Files
from evolvent.errors import BadInput, InfrastructureError


class OpenBox(Protocol):
    """What a session needs of a box."""

    def call(self, code: str | Sequence[str], stdin: str, files: Files, keep: Sequence[str]) -> Result:
        """One call to its end."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class ReplaySession:
    """See `Session`. One call at a time: a second thread waits for the first."""

    def __init__(self, open_box: Callable[[], OpenBox], files: Files, limits: Limits) -> None:
        self._open_box, self._first_files, self._limits = open_box, dict(files), limits
        self._lock = threading.RLock()
        self._calls: list[dict[str, Any]] = []
        self._is_closed = False
        self._box: OpenBox | None = open_box()

    def run(
        self, code: str | Sequence[str], *, stdin: str = "", files: Files = NO_FILES, keep: Sequence[str] = ()
    ) -> Result:
        """See `Session.run`."""
        check_files(files, self._limits)
        check_names(keep)
        with self._lock:
            if self._is_closed:
                raise BadInput("this session is closed", cure="open another one")
            if self._box is None:
                raise InfrastructureError("this session broke in an earlier call", cure="restore a snapshot")
            put = files if self._calls else {**self._first_files, **files}
            try:
                result = self._box.call(code, stdin, put, keep)
            except BadInput:
                raise
            except BaseException:  # also an interrupt: the answer to this call must not be taken for that of the next
                self._drop_box()
                raise
            self._calls.append(
                {
                    "code": code if isinstance(code, str) else list(code),
                    "stdin": stdin,
                    "files": _as_text(files),
                    "keep": list(keep),
                    "digest": _digest(result),
                }
            )
            return result

    def snapshot(self) -> bytes:
        """See `Session.snapshot`."""
        with self._lock:
            return json.dumps({"files": _as_text(self._first_files), "calls": self._calls}, sort_keys=True).encode()

    def restore(self, state: bytes) -> None:
        """See `Session.restore`."""
        first_files, calls = _read_state(state)
        with self._lock:
            if self._is_closed:
                raise BadInput("this session is closed", cure="open another one")
            self._drop_box()
            self._first_files, self._calls = first_files, []
            self._box = self._open_box()
            for number, (code, digest, more) in enumerate(calls):
                result = self.run(code, **more)
                if _digest(result) != digest:
                    self._drop_box()
                    raise InfrastructureError(
                        "a session that was played again said something else",
                        where=f"call {number + 1} of {len(calls)}",
                        got=result.stdout[-200:] + result.stderr[-200:],
                        cure="code that asks for chance or the time cannot be restored: seed it",
                    )

    def close(self) -> None:
        """See `Session.close`."""
        with self._lock:
            self._is_closed = True
            self._drop_box()

    def __enter__(self) -> ReplaySession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _drop_box(self) -> None:
        box, self._box = self._box, None
        if box is not None:
            box.close()


def _read_state(state: bytes) -> tuple[dict[str, bytes], list[tuple[str | list[str], str, dict[str, Any]]]]:
    """First files and calls of a snapshot; BadInput where it is none."""
    try:
        told = json.loads(state)
        calls = [
            (call["code"], call["digest"],
             {"stdin": call["stdin"], "files": _as_bytes(call["files"]), "keep": call["keep"]})
            for call in told["calls"]
        ]  # fmt: skip
        return _as_bytes(told["files"]), calls
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInput("this is no snapshot of a session", got=ascii(state[:80])) from error


def _digest(result: Result) -> str:
    """What a call said. Where it hit a limit, how far it came is chance."""
    said: list[Any] = [result.outcome]
    if result.outcome in (Ended.OK, Ended.FAILED):
        files = {name: hashlib.sha256(content).hexdigest() for name, content in result.files.items()}
        said += [result.stdout, result.stderr, result.exit, sorted(files.items())]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _as_text(files: Files) -> dict[str, str]:
    return {name: base64.b64encode(content).decode() for name, content in files.items()}


def _as_bytes(files: Mapping[str, str]) -> dict[str, bytes]:
    return {name: base64.b64decode(content) for name, content in files.items()}
