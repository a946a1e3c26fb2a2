"""Finds the folder of a new run, and keeps it to one process at a time."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from evolvent.errors import StoreError
from evolvent.store.atomic import disk_errors_at, is_temporary

# File handles of the locks held here: a forked worker must not keep a lock that outlives its parent.
_held: set[int] = set()


def new_folder(home: Path, stem: str) -> Path:
    """Make `stem-n` in `home`, n being the first number that is free, also where others do the same at once."""
    with disk_errors_at(home / stem):
        home.mkdir(exist_ok=True, parents=True)
        for number in itertools.count(1):
            path = home / f"{stem}-{number}"
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return path
    raise AssertionError


def given_folder(path: Path, folders: Sequence[str]) -> Path:
    """Make a folder, or take an empty one; what a killed start left there (`folders`, a plan) is no obstacle."""
    path = path.absolute()
    if path.exists() and not path.is_dir():
        raise StoreError("out= names a file", where=str(path), wanted="a new or an empty folder", cure="name a folder")
    with disk_errors_at(path):
        path.mkdir(parents=True, exist_ok=True)
        found = list(path.iterdir())
    if any(p.name not in ("lock", "plan.json", *folders) and not is_temporary(p) for p in found):
        raise occupied(path)
    return path


def occupied(path: Path) -> StoreError:
    """The error for a folder that a new run cannot have."""
    is_run = (path / "run.json").exists()
    return StoreError(
        "the folder holds a run already" if is_run else "the folder is not empty",
        where=str(path),
        got=", ".join(sorted(p.name for p in path.iterdir())[:8]),
        wanted="a new or an empty folder",
        cure=(f"go on with that run by evolvent run --resume {path}, or " if is_run else "")
        + "name another out=FOLDER",
    )


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold a lock file for this process; the system frees it however the process ends."""
    import fcntl

    with disk_errors_at(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    _held.add(handle)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _locked(path.parent, os.pread(handle, 32, 0).decode(errors="replace").strip()) from error
        with disk_errors_at(path):
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        _held.discard(handle)
        os.close(handle)


def _locked(path: Path, pid: str) -> StoreError:
    return StoreError(
        f"another run (process {pid or 'unknown'}) is writing here",
        where=str(path),
        wanted="one run per directory",
        cure=f"wait for process {pid or '?'} or stop it, or name another out=FOLDER",
    )


def _close_locks_in_child() -> None:
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_close_locks_in_child)
