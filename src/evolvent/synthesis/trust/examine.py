"""Runs every check of the trust suite over a source, or over a list of tasks, and writes the report."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from evolvent.records import Task
from evolvent.synthesis.trust.again import compare_redone, compare_redrawn
from evolvent.synthesis.trust.answers import Answers
from evolvent.synthesis.trust.bench import Bench, Played
from evolvent.synthesis.trust.curtain import look_behind
from evolvent.synthesis.trust.draw import DrawnCell, WholeSet, draw_cell
from evolvent.synthesis.trust.plan import Proof
from evolvent.synthesis.trust.verdict import Ledger, TrustReport
from evolvent.tasks.source import Source

LEAST_CORRELATION = 0.2
AS_GIVEN = Proof()

Watch = Callable[[str], object]


def examine(
    subject: Source | Sequence[Task],
    proof: Proof = AS_GIVEN,
    *,
    name: str = "",
    files: Mapping[str, str] | None = None,
    known_files: Mapping[str, str] | None = None,
    watch: Watch = lambda _: None,
) -> TrustReport:
    """Make the tasks of a source, or a list of tasks, prove themselves; `watch` is called behind each cell.

    `files` are digests by path of what the tasks are made from, `known_files` those of an earlier proof.
    """
    ledger = Ledger()
    suite = _Suite(subject, proof, ledger)
    stopped = suite.run(watch)
    compare_files(files or {}, known_files, ledger)
    played = [task for cell in suite.cells for task in cell.played]
    return TrustReport(
        subject=name or type(subject).__name__,
        seed=proof.seed,
        num_tasks=len(played),
        num_cells=len(suite.cells),
        checks=ledger.checks(),
        flawed=ledger.flawed(),
        files=files or {},
        stopped=stopped,
    )


def cells_of(subject: Source | Sequence[Task]) -> list[tuple[str, int]]:
    """The (family, level) of a subject, in order."""
    if isinstance(subject, Sequence):
        return list(dict.fromkeys((task.family, task.level) for task in subject))
    return [(family, level) for family in subject.families for level in subject.levels(family)]


def compare_files(now: Mapping[str, str], before: Mapping[str, str] | None, ledger: Ledger) -> None:
    """A file that was changed, added or removed since it was proven is a failure."""
    if before is None:
        return
    for path in sorted({*now, *before}):
        ledger.try_one("files")
        if now.get(path) != before.get(path):
            how = "was removed" if path not in now else "is new" if path not in before else "was changed"
            ledger.fail("files", None, f"{path} {how}", f"{before.get(path, '-')[:12]} -> {now.get(path, '-')[:12]}")


class _Suite:
    """One run over all cells."""

    def __init__(self, subject: Source | Sequence[Task], proof: Proof, ledger: Ledger) -> None:
        self.proof, self.ledger = proof, ledger
        self.subject = subject
        self.source: Source | None = None if isinstance(subject, Sequence) else subject
        self.bench = Bench(proof)
        self.whole = WholeSet(self.bench, ledger, self.source)
        self.cells: list[DrawnCell] = []
        self.truths: list[tuple[Played, float]] = []

    def run(self, watch: Watch) -> str:
        """All cells, until the time is up; where it ended, if not at the end."""
        start, wanted = time.monotonic(), cells_of(self.subject)
        stopped = ""
        for number, (family, level) in enumerate(wanted):
            if time.monotonic() - start > self.proof.timeout_s:
                stopped = f"{self.proof.timeout_s:g} s were up: {len(wanted) - number} of {len(wanted)} cells not tried"
                break
            self.prove(self.draw(family, level))
            watch(f"{family}:{level}")
        if self.source is not None and self.proof.redraws and self.cells:
            compare_redrawn(self.source, self.cells, self.proof, self.ledger)
        self.whole.finish()
        correlate(self.truths, self.ledger)
        return stopped

    def draw(self, family: str, level: int) -> DrawnCell:
        """The tasks of a cell."""
        if self.source is not None:
            return draw_cell(self.source, family, level, self.proof)
        assert isinstance(self.subject, Sequence)
        tasks = tuple(task for task in self.subject if (task.family, task.level) == (family, level))
        return DrawnCell(family, level, tasks, tasks, {})

    def prove(self, cell: DrawnCell) -> None:
        """Everything that is tried at the tasks of one cell."""
        if cell.fault:
            self.ledger.try_one("oracle")
            self.ledger.fail("oracle", None, f"{cell.family}:{cell.level} cannot be drawn", cell.fault)
        self.cells.append(cell)
        if not cell.played:
            return
        answers = Answers(self.bench, self.ledger)
        answers.try_cell(cell.played)
        few = [t for split in ("train", "test") for t in [t for t in cell.played if t.split == split][:2]]
        compare_redone(few, self.bench, self.ledger)
        for task in few[:1]:
            look_behind(self.proof.world, task, self.proof.seed, self.ledger)
        self.whole.look(cell.all)
        if self.bench.truth is not None:
            self.truths += [(p, true) for p in answers.judged if (true := self.bench.true_value(p)) is not None]


def correlate(truths: Sequence[tuple[Played, float]], ledger: Ledger) -> None:
    """How each part of the reward, and the whole of it, goes with the truth over everything that was played."""
    parts: dict[str, list[tuple[float, float]]] = {}
    for played, true in truths:
        if played.value is not None:
            parts.setdefault("reward", []).append((played.value, true))
            for name, value in played.components.items():
                parts.setdefault(name, []).append((value, true))
    for name, pairs in parts.items():
        ours, theirs = [a for a, _ in pairs], [b for _, b in pairs]
        if len(set(theirs)) < 2:
            continue
        ledger.try_one("components")
        if len(set(ours)) < 2:
            ledger.set("components", name, 0.0)
            ledger.warn("components", None, f"{name} is the same whatever was said", f"{ours[0]:g}")
            continue
        found = statistics.correlation(ours, theirs)
        ledger.set("components", name, found)
        if found <= 0:
            ledger.fail("components", None, f"{name} goes against the truth", f"{found:+.2f} over {len(pairs)} answers")
        elif found < LEAST_CORRELATION:
            ledger.warn("components", None, f"{name} hardly goes with the truth", f"{found:+.2f} over {len(pairs)}")
