"""What a trust suite found, as frozen data: a row for each check, and for each flawed task what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from evolvent.records import Task

NUM_EXAMPLES = 3


class Status(StrEnum):
    """How a check ended; only `failed` speaks against training."""

    PASSED = "passed"
    WARNED = "warned"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Kind:
    """One check: its name, what it asks, and what to do where it fails."""

    name: str
    asks: str
    cure: str


CHECKS = (
    Kind("oracle", "the worked solution scores 1", "mend the solution, the stored answer or the judge"),
    Kind("nothing", "who does nothing scores below 1", "let the judge demand the answer itself"),
    Kind("floor", "guessing seldom pays", "ask for more than a choice, or count with the floor"),
    Kind("wrong", "wrong answers are rejected", "let the judge read one answer, and compare it exactly"),
    Kind("forms", "other forms of the answer count", "read answers more kindly, or say in the task that form counts"),
    Kind("again", "the same index gives the same task and trace", "take every random choice from the seed"),
    Kind("branches", "a snapshot brings the whole state back", "put all state into snapshot()"),
    Kind("leak", "the prompt does not tell the answer", "take the answer out of the prompt"),
    Kind("private", "no tool shows what is private", "open worlds with replace(task, private=None), or hide the data"),
    Kind("attacks", "words to the judge do not move it", "let the judge compare and not evaluate, and bound its time"),
    Kind("whole", "one question has one answer", "drop one of the rows, or make the question say which is meant"),
    Kind("split", "training and test share no problem", "divide by the problem's own parameters, not by seeds"),
    Kind("files", "files are as they were when proven", "put the files back, or prove them anew without against="),
    Kind("components", "each part of the reward goes with the truth", "drop the part, or gate it by a check"),
)  # fmt: skip
KINDS = {kind.name: kind for kind in CHECKS}


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing that went wrong: at which check, with which task, how, and what was tried."""

    check: str
    status: Status
    task_id: str
    what: str
    got: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """The row of one check; `numbers` are measured shares, `examples` the first flaws, the failures before the rest."""

    name: str
    status: Status
    num_tried: int
    num_failed: int = 0
    num_warned: int = 0
    numbers: Mapping[str, float] = field(default_factory=dict)
    examples: tuple[Flaw, ...] = ()
    note: str = ""

    @property
    def cure(self) -> str:
        """What to do about it."""
        return KINDS[self.name].cure


@dataclass(frozen=True, slots=True)
class TrustReport:
    """All checks of one subject; `flawed` names by task id the checks that the task failed."""

    subject: str
    seed: int
    num_tasks: int
    num_cells: int
    checks: tuple[Check, ...]
    flawed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    stopped: str = ""

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.status is Status.FAILED)

    @property
    def holds(self) -> bool:
        """Whether nothing failed, and there was something to try."""
        return not self.failed and self.num_tasks > 0

    def check(self, name: str) -> Check:
        """One row."""
        return next(check for check in self.checks if check.name == name)

    def keep(self, tasks: Iterable[Task]) -> tuple[Task, ...]:
        """The tasks that no check of its own speaks against."""
        return tuple(task for task in tasks if task.task_id not in self.flawed)


def as_plain(report: TrustReport) -> dict[str, Any]:
    """A report as JSON values with the words of each check beside its numbers."""
    rows = []
    for check in report.checks:
        row = asdict(check)
        row["examples"] = [{**asdict(flaw), "status": str(flaw.status)} for flaw in check.examples]
        rows.append({**row, "status": str(check.status), "asks": KINDS[check.name].asks, "cure": check.cure})
    return {
        "subject": report.subject,
        "holds": report.holds,
        "seed": report.seed,
        "num_tasks": report.num_tasks,
        "num_cells": report.num_cells,
        "stopped": report.stopped,
        "checks": rows,
        "flawed": {task_id: list(names) for task_id, names in report.flawed.items()},
        "files": dict(report.files),
    }


class Ledger:
    """Takes down what is tried and what goes wrong, and sums it up."""

    def __init__(self) -> None:
        self.tried: dict[str, int] = {}
        self.flaws: dict[str, list[Flaw]] = {}
        self.numbers: dict[str, dict[str, float]] = {}
        self.notes: dict[str, str] = {}

    def try_one(self, name: str, num: int = 1) -> None:
        """Count what was tried."""
        self.tried[name] = self.tried.get(name, 0) + num

    def fail(self, name: str, task: Task | None, what: str, got: str = "") -> None:
        """Take down a failure."""
        self._note(Flaw(name, Status.FAILED, task.task_id if task else "", what, _short(got)))

    def warn(self, name: str, task: Task | None, what: str, got: str = "") -> None:
        """Take down a warning."""
        self._note(Flaw(name, Status.WARNED, task.task_id if task else "", what, _short(got)))

    def add(self, name: str, key: str, value: float) -> None:
        """Add to a number of a check."""
        numbers = self.numbers.setdefault(name, {})
        numbers[key] = numbers.get(key, 0.0) + value

    def set(self, name: str, key: str, value: float) -> None:
        """Set a number of a check."""
        self.numbers.setdefault(name, {})[key] = value

    def most(self, name: str, key: str, value: float) -> None:
        """Keep the largest of a number of a check."""
        numbers = self.numbers.setdefault(name, {})
        numbers[key] = max(numbers.get(key, value), value)

    def checks(self) -> tuple[Check, ...]:
        """A row for each check, in order."""
        return tuple(self._check(kind.name) for kind in CHECKS)

    def flawed(self) -> dict[str, tuple[str, ...]]:
        """By task id, the checks that a task failed."""
        found: dict[str, dict[str, None]] = {}
        for kind in CHECKS:
            for flaw in self.flaws.get(kind.name, ()):
                if flaw.status is Status.FAILED and flaw.task_id:
                    found.setdefault(flaw.task_id, {})[kind.name] = None
        return {task_id: tuple(names) for task_id, names in found.items()}

    def _note(self, flaw: Flaw) -> None:
        self.flaws.setdefault(flaw.check, []).append(flaw)

    def _check(self, name: str) -> Check:
        flaws, num = self.flaws.get(name, []), self.tried.get(name, 0)
        failed = [flaw for flaw in flaws if flaw.status is Status.FAILED]
        warned = [flaw for flaw in flaws if flaw.status is Status.WARNED]
        status = Status.FAILED if failed else Status.WARNED if warned else Status.PASSED
        if not num and not flaws:
            status = Status.NOT_APPLICABLE
        return Check(
            name,
            status,
            num,
            len(failed),
            len(warned),
            {key: round(value, 4) for key, value in self.numbers.get(name, {}).items()},
            _different(failed or warned),
            self.notes.get(name, ""),
        )


def _different(flaws: list[Flaw]) -> tuple[Flaw, ...]:
    """The first flaws of different kinds."""
    first: dict[str, Flaw] = {}
    for flaw in flaws:
        first.setdefault(flaw.what, flaw)
    return tuple(first.values())[:NUM_EXAMPLES]


def _short(text: str, most: int = 200) -> str:
    clean = text.encode("utf-8", "backslashreplace").decode()
    return clean if len(clean) <= most else clean[: most - 3] + "..."
