"""Checks what a caller wants run: code or a command, its files by relative path, what to keep; and plays it again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from evolvent.envs.sandbox.limits import Ended, Result
from evolvent.errors import BadInput, InfrastructureError

MAX_NAME_BYTES, MAX_PATH_BYTES, MAX_DEPTH = 255, 1024, 32


@dataclass(frozen=True, slots=True)
class Asked:
    """One call, checked: Python source, or else the words of a command."""

    code: str
    argv: tuple[str, ...]
    stdin: str
    files: Mapping[str, bytes]
    keep: tuple[str, ...]

    @property
    def source(self) -> bytes:
        """The code as bytes; what is no text is left for the interpreter to refuse."""
        return self.code.encode("utf-8", "surrogatepass")


def checked(
    code: str | Sequence[str], stdin: str, files: Mapping[str, bytes], keep: Sequence[str], *, where: str
) -> Asked:
    """The call; BadInput where a path leads out of the working folder or a command has no words."""
    for name in (*files, *keep):
        check_path(name, where=where)
    if odd := [name for name, content in files.items() if not isinstance(content, bytes)]:
        raise BadInput("a file is bytes", where=where, got=f"{odd[0]}: {type(files[odd[0]]).__name__}", wanted="bytes")
    if isinstance(code, str):
        return Asked(code, (), stdin, dict(files), tuple(keep))
    if not code or not code[0] or not all(isinstance(word, str) for word in code):
        raise BadInput("a command is a sequence of texts, and the first is its name", where=where, got=list(code))
    if any("\0" in word for word in code):
        raise BadInput("a word of a command holds a NUL", where=where, got=list(code))
    return Asked("", tuple(code), stdin, dict(files), tuple(keep))


def check_path(name: object, *, where: str) -> None:
    """BadInput unless this is a path below the working folder."""
    parts = PurePosixPath(name).parts if isinstance(name, str) else ()
    sizes = [len(part.encode("utf-8", "surrogatepass")) for part in parts]
    is_fine = (
        bool(parts)
        and not str(name).startswith("/")
        and not str(name).endswith("/")
        and ".." not in parts
        and "\0" not in str(name)
        and not any("\ud800" <= letter <= "\udfff" for letter in str(name))
        and max(sizes) <= MAX_NAME_BYTES
        and sum(sizes) <= MAX_PATH_BYTES
        and len(parts) <= MAX_DEPTH
    )
    if not is_fine:
        raise BadInput(
            "a file is named by a path below the working folder", where=where, got=repr(name)[:200],
            wanted=f"no .., no /first, no NUL, at most {MAX_DEPTH} parts of {MAX_NAME_BYTES} bytes",
        )  # fmt: skip


@dataclass
class Replay:
    """The calls of a session, each with what it came to, so that a fresh one can be brought to the same state."""

    calls: list[dict[str, Any]] = field(default_factory=list)

    def add(self, asked: Asked, result: Result) -> None:
        """Remember a call that was made."""
        call = {"code": asked.code, "argv": list(asked.argv), "stdin": asked.stdin, "keep": list(asked.keep)}
        call["files"] = {name: content.hex() for name, content in asked.files.items()}
        self.calls.append({**call, "digest": _digest(result)})

    def state(self) -> bytes:
        """All calls as bytes."""
        return json.dumps(self.calls).encode()

    def restore(self, state: bytes, run: Callable[..., Result]) -> None:
        """Make the calls of a state by `run`, which adds them here; what is different the second time is an error."""
        try:
            calls = [dict(call) for call in json.loads(state)]
            wanted = [(call["digest"], _words(call)) for call in calls]
        except (ValueError, TypeError, KeyError) as error:
            raise BadInput("this is no snapshot of a session", got=repr(state[:80])) from error
        self.calls = []
        for number, (digest, (code, more)) in enumerate(wanted, 1):
            if _digest(run(code, **more)) != digest:
                raise InfrastructureError(
                    "a session played again came to something else", where=f"call {number} of {len(wanted)}",
                    cure="code that reads a clock, chance or addresses cannot be played again",
                )  # fmt: skip


def _words(call: Mapping[str, Any]) -> tuple[str | list[str], dict[str, Any]]:
    files = {name: bytes.fromhex(content) for name, content in call["files"].items()}
    return call["argv"] or call["code"], {"stdin": call["stdin"], "files": files, "keep": call["keep"]}


def _digest(result: Result) -> str:
    if result.outcome not in (Ended.OK, Ended.FAILED):
        return result.outcome  # how far it came before a limit is chance
    told = [result.stdout, result.stderr, result.exit, result.outcome]
    seen = json.dumps([*told, {name: content.hex() for name, content in result.files.items()}], sort_keys=True)
    return hashlib.sha256(seen.encode()).hexdigest()
