"""A hub: its folder, database, tasks, repositories and limits, opened together."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from evolvent.errors import BadInput
from evolvent.hive.hub.answers import Answers
from evolvent.hive.hub.database import Database, open_database
from evolvent.hive.hub.limits import Limits
from evolvent.hive.hub.repositories import Repositories
from evolvent.hive.noise import KeepRule
from evolvent.hive.task import HiveTask
from evolvent.hive.task_folder import Shelf
from evolvent.store.atomic import write_text


class Registration(StrEnum):
    """Who may register an agent."""

    OPEN = "open"
    INVITED = "invited"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Settings:
    """How a hub behaves.

    `public_url` is how it is reached from outside (else what the request said). `hosts` are the names that it answers
    to, all where there are none. `max_looks` runs of a task may see its
    hold-out. `lease_s` is how long a worker may be silent, `max_attempts` how often a measurement is tried.
    """

    registration: Registration = Registration.OPEN
    public_url: str = ""
    hosts: tuple[str, ...] = ()
    rule: KeepRule = field(default_factory=KeepRule)
    max_looks: int = 5
    claim_s: float = 15 * 60
    lease_s: float = 60
    max_attempts: int = 5


@dataclass
class Hub:
    """What the routes work on; `secret` draws the fresh seeds that nobody can foretell."""

    home: Path
    database: Database
    shelf: Shelf
    repositories: Repositories
    secret: int
    settings: Settings = field(default_factory=Settings)
    limits: Limits = field(default_factory=Limits)
    answers: Answers = field(default_factory=Answers)
    _tasks: dict[str, HiveTask] = field(default_factory=dict, repr=False)

    def task(self, digest: str) -> HiveTask:
        """The task of this digest, read once; whoever scores with it reads it again and checks it."""
        if digest not in self._tasks:
            self._tasks[digest] = self.shelf.take(digest)
        return self._tasks[digest]

    def close(self) -> None:
        """Give the database back."""
        self.database.close()


def open_hub(home: Path | str, database: str | None = None, settings: Settings | None = None) -> Hub:
    """The hub in a folder, made where there is none; `database` is a URL, else hub.db in that folder."""
    folder = Path(home).resolve()
    if folder.exists() and not folder.is_dir():
        raise BadInput("a hub needs a folder", where=str(home), wanted="a folder, or a name that is free")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Hub(
        home=folder,
        database=open_database(database or str(folder / "hub.db")),
        shelf=Shelf(folder / "tasks"),
        repositories=Repositories(folder / "git"),
        secret=_read_secret(folder / "secret"),
        settings=settings or Settings(),
    )


def _read_secret(path: Path) -> int:
    if not path.exists():
        path.touch(0o600)
        write_text(path, f"{secrets.randbits(63)}\n")
        path.chmod(0o600)
    try:
        return int(path.read_text("ascii"))
    except ValueError:
        raise BadInput(
            "the hub's secret is broken", where=str(path), wanted="a whole number", cure="restore it"
        ) from None
