"""Writes what the command of an agent finds in its tree and home, and reads what it leaves, and follows no links."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evolvent.errors import InfrastructureError
from evolvent.hive.agents.proposer import Context
from evolvent.hive.agents.words import describe, finite, one_line, plain
from evolvent.store.atomic import disk_errors_at

NOTES, REPORT = ".hive", "report.json"
MAX_REPORT, MAX_TLDR, MAX_MESSAGE, MAX_COUNT, MAX_MONEY = 65536, 80, 8000, 10**12, 1e9
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


@dataclass(frozen=True)
class Seat:
    """Whose command it is: the agent's folder on this machine, and who it is at the hub."""

    folder: Path
    hub: str
    task: str
    agent: str
    token: str = field(repr=False)

    @property
    def home(self) -> Path:
        """The home of the command, which is its own to write."""
        return self.folder / "home"

    @property
    def log(self) -> Path:
        """Where the output of the command goes."""
        return self.folder / "agent.log"


@dataclass(frozen=True, slots=True)
class Report:
    """What a command says about its try; all of it is a claim."""

    tldr: str = ""
    message: str = ""
    score: float | None = None
    tokens: int = 0
    money: float = 0.0


def lay_home(seat: Seat) -> None:
    """The agent's name and token where the public client looks for them; what else the home holds stays."""
    seat.home.mkdir(parents=True, exist_ok=True)
    notes = renew_folder(seat.home / NOTES)
    agents = notes / "agents"
    agents.mkdir(mode=0o700)
    _write(notes / "config.json", json.dumps({"server_url": seat.hub, "default_agent": seat.agent}))
    _write(agents / f"{seat.agent}.json", json.dumps({"agent_id": seat.agent, "token": seat.token}))


def lay_notes(tree: Path, seat: Seat, texts: Mapping[str, str]) -> None:
    """The folder .hive of a work tree: task and agent as the public client reads them, and these texts."""
    notes = renew_folder(tree / NOTES)
    for name, text in {"task": seat.task, "agent": seat.agent, **texts}.items():
        _write(notes / name, text)


def context_files(context: Context, prompt: str) -> dict[str, str]:
    """What an agent reads before a try."""
    wire = {name: value for name, value in vars(context).items() if name != "desk"}
    return {
        "context.md": describe(context),
        "context.json": json.dumps(wire, default=str, indent=1),
        "program.md": context.program,
        "prompt.md": prompt,
    }


def read_report(tree: Path, tail: bytes) -> Report:
    """What the command wrote into .hive/report.json; without one its last line says what it tried."""
    found: Any = None
    with suppress(ValueError, RecursionError):
        found = json.loads(_read_left(tree, REPORT) or b"null")
    found = found if isinstance(found, dict) else {}
    lines = [line for line in tail.decode(errors="replace").splitlines() if line.strip()]
    message = plain(str(found.get("message") or ""), MAX_MESSAGE)
    tldr = one_line(str(found.get("tldr") or message or (lines[-1] if lines else "")), MAX_TLDR)
    tokens, money = finite(found.get("tokens")) or 0.0, finite(found.get("money")) or 0.0
    return Report(
        tldr=tldr or "a change without words",
        message=message or tldr,
        score=finite(found.get("score")),
        tokens=int(min(max(tokens, 0), MAX_COUNT)),
        money=min(max(money, 0.0), MAX_MONEY),
    )


def renew_folder(path: Path) -> Path:
    """An empty folder of that name in the place of whatever was there: a link there would lead our pen elsewhere."""
    remove_tree(path)
    with disk_errors_at(path):
        path.mkdir(mode=0o700)
    return path


def remove_tree(path: Path) -> None:
    """Remove whatever is there, with all in it, whatever rights its owner took from it; no link is followed."""
    try:
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            path.unlink()
        elif path.exists():
            _give_rights(path)
            shutil.rmtree(path)
    except OSError as error:
        cure = "end what still writes there, or remove it by hand"
        raise InfrastructureError("this cannot be removed", where=str(path), got=str(error), cure=cure) from error


def _give_rights(path: Path) -> None:
    """Let the owner into each folder of a tree."""
    inner = [str(path)]
    while inner:
        folder = inner.pop()
        os.chmod(folder, 0o700)  # noqa: PTH101 - one word for all of them
        with os.scandir(folder) as found:
            inner += [one.path for one in found if one.is_dir(follow_symlinks=False)]


def _write(path: Path, text: str) -> None:
    """A new file in a folder that is ours, for its owner alone."""
    with disk_errors_at(path):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(file, "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(text)


def _read_left(tree: Path, name: str) -> bytes | None:
    """A small regular file of .hive that an untrusted command left; None where there is none."""
    try:
        folder = os.open(tree / NOTES, _FOLDER)
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        finally:
            os.close(folder)
    except OSError:
        return None
    with os.fdopen(file, "rb") as stream:
        return stream.read(MAX_REPORT) if stat.S_ISREG(os.fstat(file).st_mode) else None


def report_example() -> str:
    """What a report looks like, for the prompt."""
    made = Report("what you tried, in a line", "why, what came out, and what the others should know", 0.5, 1200, 0.01)
    return json.dumps(asdict(made))
