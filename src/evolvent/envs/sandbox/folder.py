"""Puts files into the working folder of a box and reads them back, through no link and through no pipe.

Runs inside the sandbox, from its source text: nothing but the standard library may be imported here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress

HOME = "/box/work"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def put_files(names: Sequence[str], contents: Sequence[bytes]) -> str:
    """Write files with their folders; what stood in the way, in words, or nothing."""
    for name, content in zip(names, contents, strict=True):
        try:
            _put(name, content)
        except OSError as error:
            return f"{name}: {os.strerror(error.errno or 0)}\n"
    return ""


def keep_files(names: Sequence[str], file_bytes: int, all_bytes: int) -> tuple[list[str], list[bytes]]:
    """Those of the files that are there, regular and not too large."""
    found, contents = [], []
    for name in names:
        with suppress(OSError, ValueError):
            content = _read(name, min(file_bytes, all_bytes))
            all_bytes -= len(content)
            found.append(name)
            contents.append(content)
    return found, contents


def _put(name: str, content: bytes) -> None:
    folder = _open_folder(name, makes=True)
    try:
        file = os.open(
            name.rpartition("/")[2],
            os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK,
            0o700 if content.startswith(b"#!") else 0o600,
            dir_fd=folder,
        )
    finally:
        os.close(folder)
    with os.fdopen(file, "wb") as stream:
        stream.write(content)


def _read(name: str, max_bytes: int) -> bytes:
    folder = _open_folder(name, makes=False)
    try:
        file = os.open(name.rpartition("/")[2], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)
    with os.fdopen(file, "rb") as stream:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_size > max_bytes:
            raise ValueError("not a regular file, or too large")
        return stream.read(max_bytes)


def _open_folder(name: str, makes: bool) -> int:
    """The folder that holds `name`, reached without following a link."""
    folder = os.open(HOME, _FOLDER)
    for part in name.split("/")[:-1]:
        inner = folder
        try:
            if makes:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=folder)
            inner = os.open(part, _FOLDER, dir_fd=folder)
        finally:
            os.close(folder)
        folder = inner
    return folder
