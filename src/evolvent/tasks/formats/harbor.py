"""Reads and writes Harbor task folders: task.toml, instruction, environment, tests and solution, byte for byte.

Everything in a folder is kept, known or not, so what was read is written back unchanged.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evolvent.errors import BadInput
from evolvent.store.atomic import write_folder
from evolvent.tasks.formats.toml import to_toml

SCHEMA = "1.4"
CONFIG, INSTRUCTION, TEST, SOLVE = "task.toml", "instruction.md", "tests/test.sh", "solution/solve.sh"
MAX_BYTES, MAX_FILES = 64 * 2**20, 4096
NO_NETWORK, PUBLIC = "no-network", "public"
AGENT_S, VERIFIER_S = 600.0, 600.0  # the format's own default for tests; it leaves agents unbounded


@dataclass(frozen=True)
class HarborStep:
    """One of several stages of a task: its words, and the reward below which the later ones are not begun."""

    name: str
    instruction: str
    min_reward: float | Mapping[str, float] | None = None

    def is_passed(self, rewards: Mapping[str, float]) -> bool:
        """Whether rewards by name reach what the step asks; a reward that is missing does not."""
        if self.min_reward is None:
            return True
        asked = self.min_reward if isinstance(self.min_reward, Mapping) else {"reward": self.min_reward}
        return all(name in rewards and rewards[name] >= least for name, least in asked.items())


@dataclass(frozen=True)
class HarborTask:
    """A whole task folder: every file by its path, and which of them may be executed."""

    files: Mapping[str, bytes]
    executables: frozenset[str] = frozenset()
    where: str = CONFIG

    @property
    def config(self) -> dict[str, Any]:
        """What task.toml says, fields that nobody here knows included."""
        return _config(self.files[CONFIG], self.where)

    @property
    def name(self) -> str:
        """The name that task.toml gives, else that of the folder."""
        return str(self.table("task").get("name") or Path(self.where).name)

    @property
    def instruction(self) -> str:
        """What is asked; of a task with steps, what all steps ask, one after the other."""
        if INSTRUCTION in self.files:
            return self.files[INSTRUCTION].decode("utf-8", "replace").strip()
        return "\n\n".join(step.instruction for step in self.steps)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The free part of task.toml."""
        return self.table("metadata")

    @property
    def agent_s(self) -> float:
        """How many seconds the agent has."""
        return float(self.table("agent").get("timeout_sec") or AGENT_S)

    @property
    def verifier_s(self) -> float:
        """How many seconds the tests have."""
        return float(self.table("verifier").get("timeout_sec") or VERIFIER_S)

    @property
    def network_modes(self) -> Mapping[str, str]:
        """What is asked of the network, by the part of task.toml that asks; public where nothing is said."""
        environment = self.table("environment")
        default = NO_NETWORK if environment.get("allow_internet") is False else PUBLIC  # the older way to say it
        asked = {"environment": str(environment.get("network_mode") or default)}
        for part in ("agent", "verifier"):
            if mode := self.table(part).get("network_mode"):
                asked[part] = str(mode)
        return asked

    @property
    def steps(self) -> tuple[HarborStep, ...]:
        """The stages of the task; none where it has only one."""
        found = []
        for step in self.config.get("steps") or ():
            words = self.files.get(f"steps/{step['name']}/{INSTRUCTION}", b"").decode("utf-8", "replace").strip()
            found.append(HarborStep(str(step["name"]), words, step.get("min_reward")))
        return tuple(found)

    def table(self, name: str) -> Mapping[str, Any]:
        """One table of task.toml; empty where it is not there."""
        found = self.config.get(name) or {}
        if not isinstance(found, Mapping):
            raise BadInput(f"[{name}] is not a table", where=f"{self.where}/{CONFIG}", got=found, wanted="a table")
        return found

    def below(self, folder: str) -> dict[str, bytes]:
        """The files of a folder of the task, by their paths in it."""
        start = folder.rstrip("/") + "/"
        return {path.removeprefix(start): data for path, data in self.files.items() if path.startswith(start)}

    def with_config(self, config: Mapping[str, Any]) -> HarborTask:
        """The same task with another task.toml."""
        return replace(self, files={**self.files, CONFIG: to_toml(config).encode()})

    @property
    def digest(self) -> str:
        """SHA-256 of the folder: paths, which may be executed, and bytes."""
        told = hashlib.sha256()
        for path in sorted(self.files):
            data = self.files[path]
            told.update(f"{len(path.encode())} {path} {int(path in self.executables)} {len(data)}\n".encode())
            told.update(data)
        return told.hexdigest()


def read_task(folder: str | Path, digest: str = "") -> HarborTask:
    """The task in a folder; BadInput where it is none, or not the one whose digest is given."""
    home = Path(folder)
    if not (home / CONFIG).is_file():
        raise BadInput("this is no Harbor task", where=str(home), wanted=f"a folder with {CONFIG}")
    files: dict[str, bytes] = {}
    executables, room = set(), MAX_BYTES
    for path in sorted(home.rglob("*")):
        name = path.relative_to(home).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BadInput("a task folder holds plain files only", where=str(home), got=name, cure="copy the file in")
        if path.is_dir():
            continue
        room -= path.stat().st_size
        if room < 0 or len(files) >= MAX_FILES:
            raise BadInput("this task is too large", where=str(home), wanted=f"{MAX_BYTES} bytes, {MAX_FILES} files")
        files[name] = path.read_bytes()
        executables |= {name} if path.stat().st_mode & 0o100 else set()
    task = checked(HarborTask(files, frozenset(executables), str(home)))
    if digest and task.digest != digest:
        raise BadInput("the task has changed on disk", where=str(home), got=task.digest, wanted=digest)
    return task


def write_task(folder: str | Path, task: HarborTask) -> Path:
    """Write a task as a folder, whole or not at all."""
    checked(task)

    def fill(home: Path) -> None:
        for name, data in task.files.items():
            path = home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.chmod(0o755 if name in task.executables else 0o644)

    write_folder(Path(folder), fill)
    return Path(folder)


def task_folders(folder: str | Path) -> list[Path]:
    """The task folders at a path: itself, or all below it, in order of their names."""
    home = Path(folder)
    if (home / CONFIG).is_file():
        return [home]
    found = sorted(path.parent for path in home.rglob(CONFIG) if not _is_hidden(path.relative_to(home)))
    if not found:
        raise BadInput("no Harbor task is there", where=str(home), wanted=f"folders with {CONFIG}")
    return found


def checked(task: HarborTask) -> HarborTask:
    """The task itself, or BadInput that says what it lacks."""
    for name in task.files:
        parts = Path(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\0" in name:
            raise BadInput("a file is named by a path below its task", where=task.where, got=name)
    if CONFIG not in task.files:
        raise BadInput("this is no Harbor task", where=task.where, wanted=CONFIG)
    stages = [(f"steps/{step.name}/", step) for step in task.steps]
    for start, step in stages:
        if not step.instruction:
            raise BadInput("a step says nothing", where=task.where, wanted=start + INSTRUCTION)
    for path in [INSTRUCTION, TEST] if not stages else [start + TEST for start, _ in stages]:
        if path not in task.files and not (stages and TEST in task.files):
            raise BadInput("a task lacks a file", where=task.where, got=", ".join(task.files)[:200], wanted=path)
    return task


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _config(data: bytes, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{CONFIG} cannot be read", where=where, got=str(error), wanted="TOML in UTF-8") from error
