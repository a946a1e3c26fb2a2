"""Turns data into files that are either whole or absent, whatever kills the process or fills the disk."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from evolvent.errors import EvolventError, StoreError

# A process id alone is not enough: in a container every start may get the same one.
_TOKEN = f"{os.getpid()}-{secrets.token_hex(4)}"


def _renew_token() -> None:
    # a forked worker is another writer, and may die alone
    global _TOKEN  # noqa: PLW0603
    _TOKEN = f"{os.getpid()}-{secrets.token_hex(4)}"


os.register_at_fork(after_in_child=_renew_token)

_ELSEWHERE = "name another folder: out= of a run, home= of a hub, folder= of an agent"
_WHY = {
    errno.ENOSPC: ("the disk is full", f"free some space there, or {_ELSEWHERE}"),
    errno.EDQUOT: ("the disk quota is used up", f"free some space there, or {_ELSEWHERE}"),
    errno.EFBIG: ("the file may not grow larger", f"raise the file size limit (ulimit -f), or {_ELSEWHERE}"),
    errno.EROFS: ("the disk is read-only", _ELSEWHERE),
    errno.EACCES: ("writing there is not allowed", f"change the permissions, or {_ELSEWHERE}"),
    errno.EPERM: ("writing there is not allowed", f"change the permissions, or {_ELSEWHERE}"),
}


def write_text(path: Path, text: str) -> None:
    """Replace a file by a text in UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file; a reader sees the old bytes or the new ones, never a part."""

    def fill(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_file(path, fill)


def write_file(path: Path, fill: Callable[[Path], None]) -> None:
    """Replace a file by what `fill` writes at the path that it is given."""
    temporary = temporary_beside(path)
    with disk_errors_at(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fill(temporary)
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Replace a folder by what `fill` writes into the empty folder that it is given."""
    temporary, aside = temporary_beside(path), _aside(path)
    with disk_errors_at(path):
        try:
            temporary.mkdir(parents=True)
            fill(temporary)
            for found in sorted(temporary.rglob("*")):
                _sync(found)
            _sync(temporary)
            if path.exists():
                path.rename(aside)  # a kill between these two renames is mended by `sweep`
            temporary.rename(path)
            _sync(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            if path.exists():
                shutil.rmtree(aside, ignore_errors=True)
            elif aside.exists():
                aside.rename(path)


def append_line(path: Path, text: str) -> None:
    """Add one whole line to a file, and wait until the disk has it; a torn end of an earlier write is cut off first."""
    if "\n" in text:
        raise ValueError(f"a line cannot hold a line break: {text[:80]!r}")
    import fcntl

    data = text.encode("utf-8") + b"\n"
    with disk_errors_at(path):
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # another writer's line may be half there while it is being written
            good = _cut_torn_end(handle)
            try:
                while data:
                    data = data[os.write(handle, data) :]
                os.fsync(handle)
            except BaseException:
                with suppress(OSError):
                    os.ftruncate(handle, good)
                raise
        finally:
            os.close(handle)


def whole_lines(path: Path) -> tuple[list[str], str]:
    """The finished lines of a file, and the half-written rest (empty where there is none)."""
    if not path.exists():
        return [], ""
    *lines, torn = path.read_bytes().decode("utf-8", errors="replace").split("\n")
    return lines, torn


def sweep(folder: Path) -> None:
    """Clear away what killed processes left unfinished in a folder; the work of living ones stays."""
    if not folder.is_dir():
        return
    for found in list(folder.iterdir()):
        if found.name.startswith(".") and found.name.endswith(".old"):
            home = found.with_name(found.name[1:].removesuffix(".old"))
            if home.exists():
                shutil.rmtree(found, ignore_errors=True)
            else:
                found.rename(home)
        elif is_temporary(found) and not _is_being_written(found):
            if found.is_dir():
                shutil.rmtree(found, ignore_errors=True)
            else:
                found.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Whether a name belongs to unfinished work."""
    return path.name.startswith(".") and path.name.endswith((".tmp", ".old"))


def temporary_beside(path: Path) -> Path:
    """A name in the same folder (so that a rename stays on one disk) that says which process is writing."""
    return path.with_name(f".{path.name}.{_TOKEN}-{secrets.token_hex(3)}.tmp")


@contextmanager
def disk_errors_at(path: Path) -> Iterator[None]:
    """Turn what the system or a library says about the disk into one StoreError with a cure."""
    try:
        yield
    except EvolventError:
        raise
    except OSError as error:
        raise _store_error(path, error.errno, error) from error
    except Exception as error:
        # safetensors and duckdb wrap the system's error in their own, and keep only its words
        words = {errno.ENOSPC: "No space left on device", errno.EFBIG: "File too large", errno.EDQUOT: "quota exceeded"}
        code = next((code for code, said in words.items() if said in str(error)), None)
        if code is None:
            raise
        raise _store_error(path, code, error) from error


def _store_error(path: Path, code: int | None, error: Exception) -> StoreError:
    why, cure = _WHY.get(code or 0, ("it cannot be written", f"check that disk, or {_ELSEWHERE}"))
    return StoreError(
        f"{path.name} was not written: {why}",
        where=str(path.parent.absolute()),
        got=f"{type(error).__name__}: {error}",
        wanted=f"room for {path.name}; what was there before is kept",
        cure=cure,
    )


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _cut_torn_end(handle: int, block: int = 4096) -> int:
    """The length of a file up to its last line break, after cutting off what follows."""
    length = good = os.fstat(handle).st_size
    while good:
        start = max(0, good - block)
        data = os.pread(handle, good - start, start)
        if (at := data.rfind(b"\n")) >= 0:
            good = start + at + 1
            break
        good = start
    if good < length:
        os.ftruncate(handle, good)
    return good


def _is_being_written(path: Path) -> bool:
    token = path.name.removesuffix(".tmp").rpartition(".")[2]
    if token.startswith(_TOKEN):
        return True
    pid = token.partition("-")[0]
    if not pid.isdigit() or int(pid) == os.getpid():
        return False
    import psutil

    try:
        # a younger process has only got the number of the one that wrote
        return bool(psutil.Process(int(pid)).create_time() <= path.stat().st_mtime + 1)
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False
    except psutil.AccessDenied:
        return True
