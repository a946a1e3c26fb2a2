"""Reads an archive that somebody sent: plain files under plain names, not too many and not too large."""

from __future__ import annotations

import tarfile
from typing import IO

from evolvent.errors import BadInput
from evolvent.hive.paths import complain

MAX_FILES, MAX_BYTES = 4096, 256 * 2**20
SKIPPED = ("__pycache__", ".git", ".DS_Store")


def read_archive(packed: IO[bytes]) -> dict[str, bytes]:
    """The files of a .tar or .tar.gz by path; nothing is written to disk. BadInput for links, devices and tricks."""
    files: dict[str, bytes] = {}
    room = MAX_BYTES
    try:
        with tarfile.open(fileobj=packed, mode="r:*") as archive:
            for num, member in enumerate(archive):
                path = member.name.removeprefix("./").rstrip("/")
                if member.isdir() or any(part in SKIPPED for part in path.split("/")):
                    continue
                trouble = _complain(member, path, num, room, path in files)
                if trouble:
                    raise BadInput(f"a file of the archive {trouble}", where="archive", got=ascii(member.name)[:80])
                content = archive.extractfile(member)
                files[path] = content.read(room + 1) if content else b""
                room -= len(files[path])
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput("this is no archive", where="archive", got=str(error)[:80], wanted=".tar.gz") from None
    return files


def _complain(member: tarfile.TarInfo, path: str, num: int, room: int, is_there: bool) -> str:
    if not member.isreg():
        return "is a link, a device or a pipe"
    if is_there:
        return "is there twice"
    if num >= MAX_FILES:
        return f"is one of more than {MAX_FILES}"
    if member.size > room:
        return f"is too large: more than {MAX_BYTES} bytes in all"
    return complain(path)
