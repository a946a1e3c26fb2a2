"""Takes the files of an artifact out of a commit that nobody vouches for: as bytes, each checked by its own name.

Git's plumbing reads the objects, through a repository of our own with nothing in it: configuration, hooks, filters,
attributes, replacements, grafts and submodules of the pushed one are never looked at.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from evolvent.errors import BadInput, InfrastructureError
from evolvent.hive.paths import check_commit, complain
from evolvent.hive.task import Budget, digest_files

PATIENCE_S = 30.0
MAX_TREE_BYTES, MAX_COMMIT_BYTES, MAX_TREES = 2**18, 2**18, 512
FOLDER, FILES = b"40000", (b"100644", b"100755", b"100664")
_ODD = {b"120000": "is a link", b"160000": "is another repository (a submodule)"}
_LFS = b"version https://git-lfs"


@dataclass(frozen=True)
class Taken:
    """The artifact of a commit: its files by path, or in `trouble` why it is none."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    trouble: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of what was taken: two commits with the same artifact have the same one."""
        return digest_files(self.files)


class _Refused(Exception):
    """Why the files of a commit are no artifact."""


def take(repository: Path | str, commit: str, mutable: tuple[str, ...], budget: Budget) -> Taken:
    """Only what lies at the mutable paths of a commit; BadInput where the commit is not in this repository."""
    check_commit(commit)
    with _open_objects(Path(repository)) as objects:
        try:
            root = _root_of(objects, commit)
            files = dict(_walk(objects, root, mutable, budget))
        except _Refused as error:
            return Taken(trouble=str(error))
    if not files:
        return Taken(trouble=f"nothing lies at {', '.join(mutable)}")
    return Taken(files)


def _root_of(objects: _Objects, commit: str) -> str:
    head = objects.read(commit, "commit", MAX_COMMIT_BYTES).split(b"\n", 1)[0]
    if not head.startswith(b"tree ") or len(head) != 45:
        raise _Refused("the commit names no tree")
    return head[5:].decode("ascii", "replace")


def _walk(objects: _Objects, root: str, mutable: tuple[str, ...], budget: Budget) -> Iterator[tuple[str, bytes]]:
    """The files at these paths, and not one step into any other folder."""
    wanted = [tuple(path.split("/")) for path in mutable]
    room, num, folders, seen = budget.artifact_bytes, 0, [("", root)], set[str]()
    for folder, tree in folders:  # grows while it is walked
        for mode, path, name in _entries(objects, tree, folder):
            parts = tuple(path.split("/"))
            is_inside = any(parts[: len(one)] == one for one in wanted)
            if not is_inside and not any(one[: len(parts)] == parts for one in wanted):
                continue
            _check_entry(path, mode, is_inside, seen)
            if mode == FOLDER:
                folders.append((path, name))
                if len(folders) > MAX_TREES:  # a tree of a few bytes can name thousands, over and over
                    raise _Refused(f"the artifact has more than {MAX_TREES} folders")
                continue
            data = objects.read(name, "blob", room)
            room, num = room - len(data), num + 1
            if num > budget.num_files:
                raise _Refused(f"the artifact has more than {budget.num_files} files")
            if data.startswith(_LFS):
                raise _Refused(f"{path!a} is a pointer of git-lfs, and its content was not pushed")
            yield path, data


def _entries(objects: _Objects, tree: str, folder: str) -> Iterator[tuple[bytes, str, str]]:
    """Mode, path and object of each entry of a folder."""
    data = objects.read(tree, "tree", MAX_TREE_BYTES)
    while data:
        head, _, rest = data.partition(b"\0")
        mode, _, name = head.partition(b" ")
        if len(rest) < 20 or not name or b"/" in name:
            raise _Refused(f"the folder {folder or '/'!a} is broken, or has a name with a slash in it")
        data = rest[20:]
        yield mode, f"{folder}/{name.decode('utf-8', 'surrogateescape')}".lstrip("/"), rest[:20].hex()


def _check_entry(path: str, mode: bytes, is_inside: bool, seen: set[str]) -> None:
    """Refuse what is a trick on those who read it as the name of a file, or no file at all."""
    if trouble := complain(path):
        raise _Refused(f"the path {path!a} {trouble}")
    if path.casefold() in seen:
        raise _Refused(f"the path {path!a} is there twice")
    seen.add(path.casefold())
    if mode != FOLDER and (mode not in FILES or not is_inside):
        raise _Refused(f"{path!a} {_ODD.get(mode, 'is not a plain file')}")


class _Objects:
    """Two plumbing processes over one folder of objects: one tells kinds and sizes, the other gives the bytes."""

    def __init__(self, sizes: subprocess.Popen[bytes], bodies: subprocess.Popen[bytes], where: str) -> None:
        self._sizes, self._bodies, self._where = sizes, bodies, where

    def read(self, name: str, kind: str, max_bytes: int) -> bytes:
        """The bytes of an object, which hash to its name; none is read that is too large or of another kind."""
        found = self._ask(self._sizes, name).split(b" ")
        if len(found) != 3 or found[1] != kind.encode():
            got = "nothing" if len(found) != 3 else found[1].decode("ascii", "replace")
            raise BadInput(
                f"this repository has no such {kind}", where=self._where, got=f"{name}: {got}", cure="push it first"
            )
        if int(found[2]) > max_bytes:
            limit = f"more than {max_bytes} bytes"
            raise _Refused(f"the artifact is too large: {limit}" if kind == "blob" else f"a {kind} is {limit}")
        if self._ask(self._bodies, name) != b" ".join(found):
            raise _Refused(f"the {kind} {name} is broken")
        data = self._output(self._bodies).read(int(found[2]) + 1)
        if len(data) != int(found[2]) + 1:
            raise InfrastructureError("git ended in the middle of an answer", where=self._where, got=f"for {name}")
        data = data[:-1]
        if hashlib.sha1(b"%s %d\0" % (kind.encode(), len(data)) + data).hexdigest() != name:
            raise _Refused(f"the {kind} {name} is not what its name says")
        return data

    def _ask(self, process: subprocess.Popen[bytes], name: str) -> bytes:
        assert process.stdin is not None
        try:
            process.stdin.write(name.encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise InfrastructureError("git ended while it was asked", where=self._where) from None
        line = self._output(process).readline()
        if not line:
            raise InfrastructureError("git gave no answer", where=self._where, got=f"for {name}")
        return line.rstrip(b"\n")

    @staticmethod
    def _output(process: subprocess.Popen[bytes]) -> IO[bytes]:
        assert process.stdout is not None
        return process.stdout


@contextmanager
def _open_objects(repository: Path) -> Iterator[_Objects]:
    folder = _object_folder(repository)
    with tempfile.TemporaryDirectory(prefix="evolvent-git-") as home:
        (Path(home) / "refs").mkdir()
        (Path(home) / "objects").mkdir()
        (Path(home) / "HEAD").write_text("ref: refs/heads/none\n", "ascii")
        pair = [_start(kind, home, folder) for kind in ("--batch-check", "--batch")]
        watch = threading.Timer(PATIENCE_S, _kill, pair)
        watch.daemon = True
        watch.start()
        try:
            yield _Objects(pair[0], pair[1], str(repository))
        finally:
            watch.cancel()
            _kill(*pair)
            for process in pair:
                with suppress(OSError):
                    process.communicate()


def _kill(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        process.kill()


def _object_folder(repository: Path) -> Path:
    """Where a repository keeps its objects, all of them; BadInput where it borrows from others or links elsewhere."""
    for folder in (repository / "objects", repository / ".git" / "objects"):
        if folder.is_dir():
            break
    else:
        raise BadInput("there is no git repository here", where=str(repository), wanted="a bare one, or a work tree")
    # whoever can make these can name another fork's objects, or the hub's own
    borrows = [folder / "info" / name for name in ("alternates", "http-alternates")]
    odd = [path for path in (folder.parent, folder, folder / "info", folder / "pack") if path.is_symlink()]
    odd += [path for path in borrows if path.is_symlink() or path.exists()]
    if odd:
        raise BadInput("this repository borrows its objects", where=str(odd[0]), wanted="objects of its own alone")
    return folder.resolve()


def _start(kind: str, home: str, objects: Path) -> subprocess.Popen[bytes]:
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": home,
        "LC_ALL": "C",
        "GIT_DIR": home,
        "GIT_OBJECT_DIRECTORY": str(objects),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_TERMINAL_PROMPT": "0",
    }
    try:
        return subprocess.Popen(
            ["git", "cat-file", kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=home,
            env=environment,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise InfrastructureError("git is not installed", where="hive", cure="apt install git") from None
