"""What is known of a swarm between two commands: its agents, where they live, and which processes they are."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from evolvent.errors import BadInput, StoreError
from evolvent.store.atomic import disk_errors_at, sweep, write_text

FILE, KEY, EXIT, LOG, COMMAND_LOG = "swarm.json", "agent.json", "exit", "log.txt", "agent.log"


class State(StrEnum):
    """How an agent of a swarm is."""

    NEW = "new"  # registered, never started
    RUNNING = "running"
    ENDED = "ended"  # by itself, with nothing wrong
    FAILED = "failed"  # by itself, with an exit status
    DIED = "died"  # ended by somebody else, without a word
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Cell:
    """One agent of a swarm. A process is known by its number and its `start`, for numbers are given out again."""

    agent: str
    folder: str
    pid: int = 0
    start: str = ""
    began_at: float = 0.0
    is_stopped: bool = False

    @property
    def path(self) -> Path:
        """Where it lives."""
        return Path(self.folder)

    @property
    def state(self) -> State:
        """How it is at this moment."""
        if self.is_alive:
            return State.RUNNING
        if self.is_stopped:
            return State.STOPPED
        if not self.pid:
            return State.NEW
        status = self.exit_status
        return State.DIED if status is None else State.ENDED if status == 0 else State.FAILED

    @property
    def is_alive(self) -> bool:
        """Whether its process is at work: that very one."""
        return bool(self.pid) and read_start(self.pid) == self.start

    @property
    def exit_status(self) -> int | None:
        """What its process wrote down at its end; None where it could not."""
        with suppress(OSError, ValueError):
            return int((self.path / EXIT).read_text("ascii"))
        return None


@dataclass(frozen=True, slots=True)
class Swarm:
    """Agents of one task that were started together, all with the same `fields`, and in the folder `cwd`."""

    task: str
    hub: str
    folder: str
    agent: str
    cwd: str
    prefix: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    cells: tuple[Cell, ...] = ()

    def with_cell(self, cell: Cell) -> Swarm:
        """The same with a cell in the place of the one of that name, or behind the others."""
        known = [one.agent for one in self.cells]
        cells = self.cells if cell.agent in known else (*self.cells, cell)
        return replace(self, cells=tuple(cell if one.agent == cell.agent else one for one in cells))

    def find(self, agent: str) -> Cell:
        """The cell of an agent; BadInput where it has none."""
        found = next((cell for cell in self.cells if cell.agent == agent), None)
        if found is None:
            wanted = ", ".join(cell.agent for cell in self.cells) or "an agent of it"
            raise BadInput("the swarm has no such agent", where=f"swarm of {self.task}", got=agent, wanted=wanted)
        return found


def keep_swarm(swarm: Swarm) -> None:
    """Write it down, whole or not at all."""
    text = json.dumps(asdict(swarm), indent=1)
    write_text(Path(swarm.folder) / FILE, text + "\n")


def recall_swarm(folder: Path) -> Swarm | None:
    """The swarm of a folder; None where there is none."""
    path = folder / FILE
    try:
        said = json.loads(path.read_text("utf-8"))
        cells = tuple(Cell(**cell) for cell in said.pop("cells"))
        return Swarm(**said, cells=cells)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        cure = "end its agents by hand (ps), then delete the file"
        raise StoreError("the state of the swarm cannot be read", where=str(path), got=str(error), cure=cure) from None


def recall_all(home: Path) -> list[Swarm]:
    """Every swarm below the folder where agents live."""
    found = (recall_swarm(path.parent) for path in sorted(home.glob(f"*/swarms/*/{FILE}")))
    return [swarm for swarm in found if swarm is not None]


def refreshed(swarm: Swarm) -> Swarm:
    """The swarm with the agents that are written down by now: another command may have changed them meanwhile."""
    found = recall_swarm(Path(swarm.folder))
    return swarm if found is None else replace(swarm, cells=found.cells)


def forget_swarm(folder: Path) -> None:
    """Take the state away; logs and trees stay."""
    (folder / FILE).unlink(missing_ok=True)


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold a swarm's folder, so that two commands do not start the same agent; BadInput where another one has it."""
    with disk_errors_at(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sweep(folder)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            cure = "wait for the other command"
            raise BadInput("this swarm is being changed by another command", where=str(folder), cure=cure) from None
        yield
    finally:
        os.close(handle)


def read_start(pid: int) -> str:
    """When a process began, in a form that no later process of that number has; nothing where it has ended."""
    with suppress(OSError, ValueError, IndexError):
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        fields = stat[stat.rindex(b")") + 2 :].split()  # the name before it may hold anything
        if fields[0] not in (b"Z", b"X"):
            return f"{_boot()}:{int(fields[19])}"
    return ""


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def tell_cell(cell: Cell) -> dict[str, Any]:
    """A cell for a script: what is in the state, and how it is."""
    return {**asdict(cell), "state": str(cell.state), "exit_status": cell.exit_status}
