"""Runs a task's own eval/eval.sh on a work tree, in the sandbox, and reads the number that it prints: a claim."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from evolvent.envs.sandbox import Ended, Limits, Sandbox
from evolvent.errors import BadInput
from evolvent.hive.agents.proposer import Wire
from evolvent.hive.agents.words import finite
from evolvent.hive.paths import lies_in

COMMAND = ("bash", "eval/eval.sh")
AWAY = (".git", ".hive")
MORE_MB, ROOM_BYTES, NUM_MORE, MAX_FILES, MAX_FILE_BYTES = 256, 64 * 2**20, 1024, 2000, 64 * 2**20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class OwnScore:
    """What an agent measured by itself: a number or none, why there is none, the end of the output, and the seconds."""

    value: float | None
    why: str
    tail: str
    seconds: float


def measure_tree(sandbox: Sandbox, tree: Path, task: Wire, limit_s: float) -> OwnScore:
    """One run of eval/eval.sh on the files of a tree; nothing of it runs outside of the sandbox."""
    files = read_tree(tree)
    if "eval/eval.sh" not in files:
        return OwnScore(None, "the task has no eval/eval.sh", "", 0.0)
    size = sum(map(len, files.values()))
    memory_mb = (task.get("budget") or {}).get("memory_mb", 512) + MORE_MB
    limits = Limits(
        wall_s=limit_s, cpu_s=limit_s, memory_bytes=memory_mb * 2**20, disk_bytes=size + ROOM_BYTES,
        file_bytes=MAX_FILE_BYTES, num_files=len(files) + NUM_MORE,
    )  # fmt: skip
    ran = sandbox.run(COMMAND, files=files, limits=limits)
    said = (ran.stdout + "\n" + ran.stderr).strip()[-4000:]
    if ran.outcome is not Ended.OK:
        how = f"it ended with {ran.exit}" if ran.outcome is Ended.FAILED else str(ran.outcome)
        return OwnScore(None, how, said, ran.usage.wall_s)
    value = read_score(ran.stdout, str(task["metric"]))
    return OwnScore(value, "" if value is not None else "it printed no number", said, ran.usage.wall_s)


def read_score(output: str, metric: str) -> float | None:
    """The number behind `metric:` after the last line of dashes; None where there is none that is finite."""
    _, dashes, after = f"\n{output}".rpartition("\n---\n")
    found = re.findall(rf"^{re.escape(metric)}:\s*(\S+)\s*$", after if dashes else "", flags=re.MULTILINE)
    with suppress(ValueError, IndexError):
        return finite(float(found[-1]))
    return None


def read_tree(tree: Path, roots: Iterable[str] | None = None) -> dict[str, bytes]:
    """The regular files of a tree, or those at some paths of it; a link is neither read nor followed."""
    wanted = None if roots is None else tuple(roots)
    found: dict[str, bytes] = {}
    for folder, names, files, number in os.fwalk(tree, follow_symlinks=False):
        inner = Path(folder).relative_to(tree)
        names[:] = sorted(name for name in names if str(inner / name) not in AWAY and name != "__pycache__")
        for name in sorted(files):
            path = str(inner / name)
            if wanted is not None and not lies_in(path, wanted):
                continue
            content = _read(name, number)
            if content is not None:
                found[path] = content
        if len(found) > MAX_FILES:
            raise BadInput("the work tree has too many files", where=str(tree), wanted=f"at most {MAX_FILES}")
    return found


def write_files(tree: Path, files: Mapping[str, bytes]) -> None:
    """Put files into a tree, through no link: a link that stands in the way is replaced."""
    for path, content in files.items():
        folder = os.open(tree, _FOLDER)
        try:
            for part in path.split("/")[:-1]:
                folder = _enter(folder, part)
            name = path.rpartition("/")[2]
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=folder)
            with os.fdopen(file, "wb") as stream:
                stream.write(content)
        finally:
            os.close(folder)


def _enter(folder: int, part: str) -> int:
    """The folder inside of a folder, which is closed."""
    try:
        with suppress(FileExistsError):
            os.mkdir(part, 0o755, dir_fd=folder)
        inner = os.open(part, _FOLDER, dir_fd=folder)
    except OSError as error:
        raise BadInput("a link or a file stands where a folder is needed", where=part, got=error.strerror) from error
    os.close(folder)
    return inner


def _read(name: str, folder: int) -> bytes | None:
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return None
    with os.fdopen(file, "rb") as stream:
        kind = os.fstat(file)
        if not stat.S_ISREG(kind.st_mode):
            return None
        if kind.st_size > MAX_FILE_BYTES:
            raise BadInput("a file of the work tree is too large", where=name, got=kind.st_size, wanted=MAX_FILE_BYTES)
        return stream.read()
