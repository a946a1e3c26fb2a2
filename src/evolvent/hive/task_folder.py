"""Reads a task of the hive from its folder and writes it; a shelf keeps every version by its digest."""

from __future__ import annotations

import os
import stat
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from evolvent.errors import BadInput, nearest
from evolvent.hive.paths import complain
from evolvent.hive.task import CONFIG, PARTS, Budget, Direction, HiveTask
from evolvent.seeds import derive
from evolvent.store.atomic import write_folder
from evolvent.tasks.formats.toml import to_toml

MAX_BYTES, MAX_FILES = 256 * 2**20, 4096
LEFT_OVER = ("__pycache__",)
NEEDED = ("name", "metric", "direction", "mutable", "command", "seeds", "holdout_seeds", "budget")
OPTIONAL = ("description", "predictions", "replay", "replayed", "absent", "exact", "timed", "range")
LISTS = ("mutable", "command", "replay", "absent", "seeds", "holdout_seeds", "range")


def read_task(folder: Path | str, made: Mapping[str, bytes] | None = None) -> HiveTask:
    """The task in a folder, with files that were made elsewhere; BadInput where it is none, or has a link or a pipe."""
    home = Path(folder)
    if home.is_symlink() or not home.is_dir():
        raise BadInput("no folder of a task is here", where=str(folder), wanted=f"a folder with {CONFIG}")
    return build_task(dict(_files(home)) | dict(made or {}), str(folder))


def build_task(files: Mapping[str, bytes], where: str) -> HiveTask:
    """The task that these files are; BadInput where they are none."""
    if CONFIG not in files:
        raise BadInput(f"{CONFIG} is missing", where=where, got=", ".join(sorted(files)[:5]) or "nothing")
    return _build(_read_config(files[CONFIG], f"{where}/{CONFIG}"), dict(files), where)


def write_task(task: HiveTask, folder: Path | str) -> None:
    """Write every file of a task, the sealed parts readable by the owner alone."""

    def fill(home: Path) -> None:
        for path, data in task.files.items():
            target = home / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        for part in ("sealed", "holdout"):
            if (home / part).is_dir():
                (home / part).chmod(0o700)

    write_folder(Path(folder), fill)


def reseal(task: HiveTask, secret: int) -> HiveTask:
    """The same task under fresh seeds that depend on `secret`, so that nobody who read the shipped one knows them."""

    def draw(kind: str, num: int) -> tuple[int, ...]:
        return tuple(derive(secret, "hive", task.name, kind, i) >> 1 for i in range(num))  # TOML numbers are signed

    fresh = replace(task, seeds=draw("sealed", len(task.seeds)), holdout_seeds=draw("holdout", len(task.holdout_seeds)))
    return replace(fresh, files={**task.files, CONFIG: _with_seeds(task.files[CONFIG], fresh)})


class Shelf:
    """Keeps trusted tasks by digest: what a run was pinned to is read again exactly, or not at all."""

    def __init__(self, home: Path | str) -> None:
        self.home = Path(home).resolve()
        for seen in {"/usr", sys.base_prefix}:
            if self.home.is_relative_to(Path(seen).resolve()):
                raise BadInput(
                    "sealed tasks cannot be kept where code in the sandbox may read",
                    where=str(home),
                    got=f"a folder below {seen}",
                    wanted="a folder of the hub's own, such as /var/lib/hive",
                )

    def put(self, task: HiveTask) -> str:
        """Keep a task; its digest."""
        target = self.home / task.digest
        if not target.is_dir():
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_task(task, target)
        return task.digest

    def folder(self, digest: str) -> Path:
        """Where the task of this digest lies."""
        target = self.home / digest
        if len(digest) != 64 or set(digest) - set("0123456789abcdef") or not target.is_dir():
            raise BadInput("no task of this digest is kept here", where=str(self.home), got=ascii(digest)[:80])
        return target

    def take(self, digest: str) -> HiveTask:
        """The task of this digest; BadInput where its files are not what they were."""
        task = read_task(self.folder(digest))
        if task.digest != digest:
            raise BadInput(
                "a kept task was changed",
                where=str(self.folder(digest)),
                got=task.digest,
                wanted=digest,
                cure="put the task there again from where it came from",
            )
        return task


def _with_seeds(config: bytes, task: HiveTask) -> bytes:
    """The declaration with the seeds of `task` in it."""
    table = _read_config(config, CONFIG)
    return to_toml({**table, "seeds": list(task.seeds), "holdout_seeds": list(task.holdout_seeds)}).encode()


def _files(home: Path) -> Iterator[tuple[str, bytes]]:
    room, num = MAX_BYTES, 0
    for folder, folders, names in os.walk(home):
        folders[:] = sorted(set(folders) - set(LEFT_OVER))
        for name in [*folders, *sorted(names)]:
            path = Path(folder) / name
            inner = path.relative_to(home).as_posix()
            trouble = _complain_entry(inner, path.lstat().st_mode)
            room, num = room - (path.lstat().st_size if name in names else 0), num + 1
            if trouble or room < 0 or num > MAX_FILES:
                raise BadInput(
                    f"a file of the task {trouble}" if trouble else "the task is too large",
                    where=f"{home}: {inner!a}",
                    wanted=f"plain files, at most {MAX_FILES} with {MAX_BYTES} bytes in all",
                )
            if name in names:
                yield inner, path.read_bytes()


def _complain_entry(inner: str, mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "is a link"
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return "is a pipe, a socket or a device"
    if inner != CONFIG and inner.partition("/")[0] not in PARTS:
        return f"is none of {CONFIG}, {', '.join(part + '/' for part in PARTS)}"
    # public files may be called eval, and none may be called .git
    return complain(inner)


def _read_config(data: bytes, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInput("the declaration is not TOML", where=where, got=str(error)) from error


def _build(table: dict[str, Any], files: dict[str, bytes], where: str) -> HiveTask:
    known = [*NEEDED, *OPTIONAL]
    for key in table:
        if key not in known:
            raise BadInput(f"a task has no {key!r}", where=f"{where}/{CONFIG}", got=key, cure=nearest(key, known))
    for key in NEEDED:
        if key not in table:
            wanted = ", ".join(NEEDED)
            raise BadInput(f"{key} is missing", where=f"{where}/{CONFIG}", got=", ".join(table), wanted=wanted)
    for key in LISTS:
        if key in table and not isinstance(table[key], list):
            raise BadInput(f"{key} is not a list", where=f"{where}/{CONFIG}", got=table[key], wanted="[...]")
    rest: dict[str, Any] = {key: tuple(value) if key in LISTS else value for key, value in table.items()}
    rest["budget"] = _budget(table["budget"], where)
    if table["direction"] not in [word.value for word in Direction]:
        wanted = " | ".join(Direction)
        raise BadInput("no such direction", where=f"{where}/{CONFIG}", got=table["direction"], wanted=wanted)
    rest["direction"] = Direction(table["direction"])
    return HiveTask(**rest, files=files, where=where)


def _budget(table: Any, where: str) -> Budget:
    known = list(Budget.__slots__)
    wanted = "[budget] with evaluations and seconds"
    if not isinstance(table, dict):
        raise BadInput("the budget is not a table", where=f"{where}/{CONFIG}", got=table, wanted=wanted)
    for key in table:
        if key not in known:
            raise BadInput(f"a budget has no {key!r}", where=f"{where}/{CONFIG}", got=key, cure=nearest(key, known))
    for key in ("evaluations", "seconds"):
        if key not in table:
            got = ", ".join(table) or "an empty table"
            raise BadInput(f"the budget has no {key}", where=f"{where}/{CONFIG}", got=got, wanted=wanted)
    return Budget(**table)
