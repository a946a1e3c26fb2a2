"""Keeps the code of a hub in bare repositories of its own: one for each task, and one for each agent at a task."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from evolvent.errors import BadInput, InfrastructureError
from evolvent.hive.commits import Taken, take
from evolvent.hive.hub.git_process import SEARCH, Git, GitLimits
from evolvent.hive.hub.refs import BASE, MAIN, RUNS, measure, read_ref, write_ref
from evolvent.hive.hub.refusals import missing
from evolvent.hive.paths import check_agent, check_commit
from evolvent.hive.task import INPUTS, HiveTask
from evolvent.store.atomic import sweep, write_folder

__all__ = ["GitLimits", "Repositories", "Spot", "check_name", "name_base", "name_fork"]

WAIT_S = 60.0
IGNORED = ".hive/\nrun.log\n__pycache__/\n*.pyc\n"
_AUTHOR = "hub <hub@localhost> 1700000000 +0000"  # of all times the same: a task makes the same commit on every hub
_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"


@dataclass(frozen=True, slots=True)
class Spot:
    """A commit, and the repository in which it is looked for."""

    name: str
    commit: str


class Repositories:
    """The bare repositories below a folder; git writes to each of them by one process at a time."""

    def __init__(self, home: Path | str, *, limits: GitLimits | None = None, search: str = SEARCH) -> None:
        self.home, self.limits = Path(home).resolve(), limits or GitLimits()
        self.git = Git(self.home / ".empty", self.limits, search)
        (self.home / ".locks").mkdir(exist_ok=True)
        sweep(self.home)

    def publish(self, task: HiveTask) -> str:
        """The commit that agents start from; a new version of a task stands on top of the one before."""
        with self.alone(name_base(task.name)):
            path = self._place(name_base(task.name))
            if not path.is_dir():
                write_folder(path, lambda home: self._begin(home, task))
            elif found := self._find_version(path, task):
                return found
            else:
                self._add_version(path, task, read_ref(path, MAIN))
            return _read_known(path, MAIN)

    def fork(self, task_name: str, agent: str) -> str:
        """The commit that an agent's own copy of a task started from; the copy is made where there is none."""
        path = self._place(name_fork(task_name, agent))
        if not path.is_dir():
            base = self.path(name_base(task_name))
            with self.alone(base.stem):
                if not path.is_dir():
                    write_folder(path, lambda home: _copy(base, home))
        return _read_known(path, BASE)

    def path(self, name: str) -> Path:
        """Where a repository lies; BadInput for what is no name of one, Refused where it is not here."""
        path = self._place(name)
        if path.is_symlink() or not path.is_dir():
            raise missing("repository", name)
        return path

    def knows(self, task_name: str, agent: str | None, commit: str) -> bool:
        """Whether a commit is in the repository of an agent, or of the task itself; it asks git."""
        return self._kind(self.path(_name(task_name, agent)), check_commit(commit)) == b"commit"

    def pin(self, task_name: str, agent: str | None, commit: str) -> None:
        """Keep a commit that was submitted, whatever happens to the branch it came by; 404 where it is not here."""
        path = self.path(_name(task_name, agent)) / RUNS / commit
        if path.exists():
            return
        if not self.knows(task_name, agent, commit):
            raise missing("commit", commit)
        write_ref(self.path(_name(task_name, agent)), f"{RUNS}/{commit}", commit)

    def new_commits(self, name: str, heads: Iterable[str], before: Iterable[str]) -> list[str]:
        """The commits that these heads reach and those before did not, the newest first, so many as are told."""
        path = self.path(name)
        asked = [check_commit(one) for one in heads] + [f"^{check_commit(one)}" for one in before]
        words = ("rev-list", "--ignore-missing", f"--max-count={self.limits.num_commits}", "--stdin")
        return (
            self.git.ask(*words, repository=path, stdin="".join(f"{one}\n" for one in asked).encode()).decode().split()
        )

    def take(self, spot: Spot, task: HiveTask) -> Taken:
        """The artifact of a commit."""
        return take(self.path(spot.name), spot.commit, task.mutable, task.budget)

    def diff(self, task: HiveTask, ours: Spot, against: Spot) -> str:
        """What changed at the mutable paths from `against` to `ours`, as a unified diff, cut where it is too long."""
        old, new = self.take(against, task), self.take(ours, task)
        for spot, taken in ((against, old), (ours, new)):
            if taken.trouble:
                return f"{spot.commit} holds no artifact: {taken.trouble}\n"
        with tempfile.TemporaryDirectory(prefix="evolvent-diff-") as home:
            _write_files(Path(home) / "a", old)
            _write_files(Path(home) / "b", new)
            words = ["--no-index", "--no-prefix", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames"]
            status, text = self.git.run("-C", home, "diff", *words, "--", "a", "b", most=self.limits.diff_bytes + 1)
        if status not in (0, 1):
            return f"these two cannot be compared within {self.limits.seconds} s\n"
        shown = text[: self.limits.diff_bytes].decode("utf-8", "replace")
        return shown + ("\n... cut here\n" if len(text) > self.limits.diff_bytes else "")

    def room(self, name: str) -> int:
        """The bytes that a fork may still grow by."""
        path = self.path(name)
        base = self.path(name_base(name.split("--")[1]))
        return self.limits.fork_bytes + measure(base) - measure(path)

    @contextmanager
    def alone(self, name: str, wait_s: float = WAIT_S) -> Iterator[int]:
        """Hold a repository for writing, against every other process; yields the open lock, which children keep too."""
        handle = os.open(self.home / ".locks" / check_name(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            until = time.monotonic() + wait_s
            while not _lock(handle):
                if time.monotonic() > until:
                    raise InfrastructureError("a repository is busy", where=name, got=f"waited {wait_s:g} s")
                time.sleep(0.005)
            yield handle
        finally:
            os.close(handle)

    def _place(self, name: str) -> Path:
        return self.home / f"{check_name(name)}.git"

    def _kind(self, path: Path, name: str) -> bytes:
        status, kind = self.git.run("cat-file", "-t", name, repository=path)
        return kind.strip() if status == 0 else b""

    def _begin(self, home: Path, task: HiveTask) -> None:
        _lay_out(home)
        self._add_version(home, task, None)

    def _find_version(self, path: Path, task: HiveTask) -> str | None:
        rows = self.git.ask("log", "--format=%H %s", MAIN, repository=path).decode().splitlines()
        return next((row[:40] for row in rows if row[41:] == _title(task)), None)

    def _add_version(self, path: Path, task: HiveTask, parent: str | None) -> None:
        stream = b"".join(_tell_version(task, parent))
        self.git.ask("fast-import", "--quiet", "--done", repository=path, stdin=stream)


def name_base(task_name: str) -> str:
    """The repository of a task."""
    return check_name(f"task--{task_name}")


def name_fork(task_name: str, agent: str) -> str:
    """The repository of an agent at a task."""
    return check_name(f"fork--{task_name}--{agent}")


def check_name(name: str) -> str:
    """The name of a repository; BadInput for anything that is none."""
    kind, *names = name.split("--")
    # tasks are named by the rule that agents are named by
    if (kind, len(names)) not in (("task", 1), ("fork", 2)) or not all(map(_is_agent, names)):
        wanted = "task--TASK or fork--TASK--AGENT"
        raise BadInput("this is no name of a repository", where="git", got=ascii(name)[:80], wanted=wanted)
    return name


def _is_agent(name: str) -> bool:
    try:
        check_agent(name)
    except BadInput:
        return False
    return True


def _name(task_name: str, agent: str | None) -> str:
    return name_base(task_name) if agent is None else name_fork(task_name, agent)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lay_out(home: Path) -> None:
    for folder in ("objects/pack", "refs"):
        (home / folder).mkdir(parents=True)
    (home / "HEAD").write_text(f"ref: {MAIN}\n", "ascii")
    (home / "config").write_text(_CONFIG, "ascii")


def _copy(base: Path, home: Path) -> None:
    """A repository with the objects and the branch of another, and none of its own."""
    _lay_out(home)
    shutil.copytree(base / "objects", home / "objects", dirs_exist_ok=True)
    commit = _read_known(base, MAIN)
    # one file is quicker written than three with their folders
    (home / "packed-refs").write_text(f"# pack-refs with: sorted\n{commit} {MAIN}\n{commit} {BASE}\n", "ascii")


def _read_known(path: Path, ref: str) -> str:
    commit = read_ref(path, ref)
    if commit is None:
        raise InfrastructureError("a repository of the hub is broken", where=str(path), got=f"no {ref}")
    return commit


def _title(task: HiveTask) -> str:
    return f"{task.name} {task.digest}"


def _tell_version(task: HiveTask, parent: str | None) -> Iterator[bytes]:
    """A commit of everything that agents see, in the words of fast-import."""
    title = f"{_title(task)}\n".encode()
    yield f"commit {MAIN}\nauthor {_AUTHOR}\ncommitter {_AUTHOR}\ndata {len(title)}\n".encode() + title
    yield f"from {parent}\n".encode() if parent else b""
    yield b"deleteall\n"
    for path, data in sorted({**task.below("public"), ".gitignore": _ignored(task)}.items()):
        mode = "100755" if path.endswith(".sh") else "100644"
        quoted = path.replace('"', '\\"')
        yield f'M {mode} inline "{quoted}"\ndata {len(data)}\n'.encode() + data + b"\n"
    yield b"done\n"


def _ignored(task: HiveTask) -> bytes:
    """What trying it out leaves behind, so that a tree is still clean afterwards."""
    left = [f"{INPUTS}/", task.predictions, *([task.replayed] if task.replay else [])]
    return (IGNORED + "".join(f"/{path}\n" for path in left)).encode()


def _write_files(home: Path, taken: Taken) -> None:
    home.mkdir()
    for path, data in taken.files.items():
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_bytes(data)
