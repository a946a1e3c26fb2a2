"""Takes the files that an agent left behind, as data: a tar archive with nothing in it that could lead elsewhere."""

from __future__ import annotations

import hashlib
import io
import posixpath
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evolvent.envs.shell_room import APP

MAX_BYTES, MAX_FILES = 64 * 2**20, 4096
ALLOWED_ROOTS = ("/app", "/usr", "/bin", "/etc", "/dev/null")  # nothing of the tests lies there
# paths and contents in one order, without clocks and owners: the same files are the same bytes
TAR = f"/usr/bin/tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C {APP} -cf"


@dataclass(frozen=True)
class Left:
    """What was left: files by path, which of them may be executed, links, and folders."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    executables: frozenset[str] = frozenset()
    links: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    trouble: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, without times."""
        return hashlib.sha256(self.archive).hexdigest()

    @property
    def archive(self) -> bytes:
        """All of it as a tar archive of our own making."""
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for folder in sorted(self.folders):
                tar.addfile(_entry(folder, tarfile.DIRTYPE, mode=0o755))
            for path, data in sorted(self.files.items()):
                mode = 0o755 if path in self.executables else 0o644
                tar.addfile(_entry(path, tarfile.REGTYPE, mode=mode, size=len(data)), io.BytesIO(data))
            for path, target in sorted(self.links.items()):
                tar.addfile(_entry(path, tarfile.SYMTYPE, linkname=target))
        return made.getvalue()


def read_left(archive: bytes | None) -> Left:
    """What is in an archive that came out of a sandbox: nobody vouches for it, so it is taken apart and judged."""
    if archive is None:
        return Left(trouble="the files could not be taken out: too many or too large")
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            return _read(tar)
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        return Left(trouble=f"the files could not be taken out: {error}")


def _read(tar: tarfile.TarFile) -> Left:
    files: dict[str, bytes] = {}
    links: dict[str, str] = {}
    folders, executables, room = set(), set(), MAX_BYTES
    for number, member in enumerate(tar):
        path = posixpath.normpath(member.name)
        if number > MAX_FILES:
            return Left(trouble=f"more than {MAX_FILES} files were left")
        if path == "." or path.startswith(("/", "..")):
            continue
        if member.isdir():
            folders.add(path)
        elif member.issym():
            if _stays(path, member.linkname):
                links[path] = member.linkname
        elif (member.isreg() or member.islnk()) and not member.issparse():
            room -= member.size
            content = tar.extractfile(member) if room >= 0 else None
            if content is None:
                return Left(trouble=f"more than {MAX_BYTES} bytes were left")
            files[path] = content.read()
            executables |= {path} if member.mode & 0o100 else set()
    return _without_detours(Left(files, frozenset(executables), links, tuple(folders)))


def _without_detours(left: Left) -> Left:
    """Without what lies below a link or a file, so that every parent is a real folder."""
    solid = set(left.links) | set(left.files)

    def is_plain(path: str) -> bool:
        parts = path.split("/")
        return not any("/".join(parts[:end]) in solid for end in range(1, len(parts)))

    files = {path: data for path, data in left.files.items() if is_plain(path) and path not in left.links}
    links = {path: target for path, target in left.links.items() if is_plain(path)}
    folders = tuple(path for path in left.folders if is_plain(path) and path not in solid)
    return Left(files, left.executables & set(files), links, folders)


def _stays(path: str, target: str) -> bool:
    """Whether a link leads to a place of the agent's own or of the base system, however the others lie."""
    if not target or "\0" in target:
        return False
    parts = [part for part in target.split("/") if part not in ("", ".")]
    ups = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
    if ".." in parts[ups:]:  # behind another link it could lead anywhere
        return False
    if target.startswith("/"):
        return ups == 0 and any(f"/{'/'.join(parts)}/".startswith(root + "/") for root in ALLOWED_ROOTS)
    return ups <= path.count("/")


def _entry(path: str, kind: bytes, **more: Any) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type = kind
    for name, value in more.items():
        setattr(entry, name, value)
    return entry
