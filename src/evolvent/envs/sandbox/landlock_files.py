"""Puts files into a folder that the code may have filled with traps, reads some back, counts and removes it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

MAX_DEPTH, UNCOUNTED = 64, 1 << 62
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def put(folder: str, files: Mapping[str, bytes], user: int | None) -> None:
    """Write files below a folder without following any link; they belong to the user that the code will be."""
    for name, content in files.items():
        *above, last = Path(name).parts
        for depth, part in enumerate(above):
            _make_folder(folder, above[:depth], part, user)
        place = _opened(folder, above)
        try:
            _clear(place, last)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(last, flags, 0o700, dir_fd=place), "wb") as file:  # noqa: PTH123
                file.write(content)
                if user is not None:
                    os.fchown(file.fileno(), user, user)
        finally:
            os.close(place)


def kept(folder: str, names: Sequence[str], max_bytes: int, max_total_bytes: int) -> dict[str, bytes]:
    """What is there of the plain files with these names; links, pipes and what is too large are not there."""
    found: dict[str, bytes] = {}
    for name in names:
        with suppress(OSError):
            content = _read(folder, name, max_bytes)
            if content is not None and sum(map(len, found.values())) + len(content) <= max_total_bytes:
                found[name] = content
    return found


def measured(folder: str) -> tuple[int, int]:
    """Bytes on disk and number of files below a folder; what hides its content counts as any number of files."""
    num_bytes = num_files = 0
    waiting = [(folder, 0)]
    while waiting:
        path, depth = waiting.pop()
        if depth > MAX_DEPTH:
            return num_bytes, UNCOUNTED
        try:
            for found in _entries(path):
                num_files += 1
                num_bytes += found[1].st_blocks * 512
                if stat.S_ISDIR(found[1].st_mode):
                    waiting.append((found[0], depth + 1))
        except (FileNotFoundError, NotADirectoryError):
            continue  # it was there a moment ago
        except OSError:
            return num_bytes, UNCOUNTED
    return num_bytes, num_files


def _entries(path: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(path) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                yield entry.path, entry.stat(follow_symlinks=False)


def remove(folder: str) -> None:
    """Remove a folder, however deep it is and whatever its rights say."""
    with suppress(OSError, RecursionError):
        shutil.rmtree(folder)
    if Path(folder).exists():
        for words in (["chmod", "-R", "u+rwx", "--", folder], ["rm", "-rf", "--", folder]):
            subprocess.run(words, check=False, env={"PATH": "/usr/bin:/bin"}, stderr=subprocess.DEVNULL)


def _read(folder: str, name: str, max_bytes: int) -> bytes | None:
    *above, last = Path(name).parts
    place = _opened(folder, above)
    try:
        file = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place)
    finally:
        os.close(place)
    with open(file, "rb") as source:  # noqa: PTH123
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_size > max_bytes:
            return None
        return source.read(max_bytes)


def _make_folder(folder: str, above: Sequence[str], part: str, user: int | None) -> None:
    """A real folder, in place of whatever has its name."""
    place = _opened(folder, above)
    try:
        with suppress(FileNotFoundError):
            if stat.S_ISDIR(os.stat(part, dir_fd=place, follow_symlinks=False).st_mode):
                return
            os.unlink(part, dir_fd=place)
        os.mkdir(part, 0o700, dir_fd=place)
        if user is not None:
            os.chown(part, user, user, dir_fd=place, follow_symlinks=False)
    finally:
        os.close(place)


def _clear(place: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=place)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        shutil.rmtree(name, dir_fd=place)


def _opened(folder: str, parts: Sequence[str]) -> int:
    """The folder below by these steps, none of which may be a link."""
    place = os.open(folder, FOLDER)
    for part in parts:
        try:
            below = os.open(part, FOLDER, dir_fd=place)
        finally:
            os.close(place)
        place = below
    return place
