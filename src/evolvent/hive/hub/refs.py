"""Reads and writes the refs of a bare repository as files, and clears away what a killed git left behind."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from evolvent.store import atomic

MAIN, BASE, RUNS = "refs/heads/main", "refs/hub/base", "refs/runs"
BLOCK = 4096  # what the smallest file takes of a disk
_COMMIT = re.compile(r"[0-9a-f]{40}")
_OPEN = ("refs/heads/", "refs/tags/")


def read_refs(repository: Path) -> dict[str, str]:
    """The branches and tags of a repository, by their full name."""
    found = {ref: name for ref, name in _packed(repository / "packed-refs") if ref.startswith(_OPEN)}
    for kind in _OPEN:
        for path in _files(repository / kind):
            name = read_ref(repository, path.relative_to(repository).as_posix())
            if name is not None and path.suffix != ".lock":
                found[path.relative_to(repository).as_posix()] = name
    return found


def read_ref(repository: Path, ref: str) -> str | None:
    """The commit that a ref names."""
    try:
        text = (repository / ref).read_text("ascii").strip()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return dict(_packed(repository / "packed-refs")).get(ref)
    return text if _COMMIT.fullmatch(text) else None


def write_ref(repository: Path, ref: str, commit: str) -> None:
    """Let a ref name a commit: whole or not at all, and on the disk when this returns."""
    atomic.write_text(repository / ref, f"{commit}\n")


def restore_refs(repository: Path, refs: dict[str, str]) -> None:
    """Let branches and tags be what they were."""
    for ref, commit in read_refs(repository).items():
        if ref not in refs:
            (repository / ref).unlink(missing_ok=True)
        elif refs[ref] != commit:
            write_ref(repository, ref, refs[ref])
    for ref in refs.keys() - read_refs(repository).keys():
        write_ref(repository, ref, refs[ref])


def sweep(repository: Path) -> None:
    """Clear away the unfinished work of a git that is gone; nobody else may be writing meanwhile."""
    for left in (repository / "objects").glob("tmp_objdir-*"):
        shutil.rmtree(left, ignore_errors=True)
    for left in [*_files(repository / "refs"), repository / "packed-refs.lock", repository / "HEAD.lock"]:
        if left.suffix == ".lock":
            left.unlink(missing_ok=True)
    atomic.sweep(repository / RUNS)


def list_objects(repository: Path) -> set[Path]:
    """Every file that holds objects."""
    return set(_files(repository / "objects"))


def measure(repository: Path) -> int:
    """The bytes that a repository takes of the disk."""
    blocks = 0
    for home, _, names in os.walk(repository):
        for name in names:
            with suppress(FileNotFoundError):  # a temporary file of git
                blocks += -(-os.stat(f"{home}/{name}").st_size // BLOCK)  # noqa: PTH116 - a Path for each is slow
    return blocks * BLOCK


def _files(folder: Path) -> Iterator[Path]:
    for home, _, names in os.walk(folder):
        yield from (Path(home) / name for name in names)


def _packed(path: Path) -> Iterator[tuple[str, str]]:
    if not path.is_file():
        return
    for line in path.read_text("ascii").splitlines():
        commit, _, ref = line.partition(" ")
        if _COMMIT.fullmatch(commit):
            yield ref, commit
