"""Turns the runs of one task into its leaderboard, its best, its improvements and who made them: pure functions.

Official is what a trusted process measured and nobody has called off. Claims are shown, and rank nothing.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evolvent.errors import BadInput
from evolvent.hive.shrink import interval, shrink
from evolvent.hive.task import Direction
from evolvent.records import Estimate


@dataclass(frozen=True, slots=True)
class BoardRun:
    """A run as the board sees it: one commit of one task, in the order of its submission (`number`).

    `values` are the official numbers, one for each seed, `cases` all their cases, `holdout` the numbers of the
    hold-out; all empty where there are none (not measured yet, or invalid). `is_valid` is False once somebody called it
    off. `is_kept` is what the comparison with the incumbent said, None where none was made.
    """

    task: str
    commit: str
    agent: str
    number: int
    parent: str | None = None
    claim: float | None = None
    values: tuple[float, ...] = ()
    cases: tuple[float, ...] = ()
    holdout: tuple[float, ...] = ()
    is_valid: bool = True
    is_kept: bool | None = None

    def __post_init__(self) -> None:
        for value in (*self.values, *self.cases, *self.holdout, *([] if self.claim is None else [self.claim])):
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise BadInput("a number on the board must be finite", where=f"{self.task}: {self.commit}", got=value)

    @property
    def is_official(self) -> bool:
        """Whether it has a number that counts."""
        return self.is_valid and bool(self.values)

    @property
    def value(self) -> float:
        """The official number."""
        return statistics.fmean(self.values)


@dataclass(frozen=True, slots=True)
class Row:
    """A place on the leaderboard: as measured, drawn towards the others as far as luck goes, and on the hold-out."""

    rank: int
    run: BoardRun
    measured: Estimate
    likely: Estimate
    holdout: Estimate | None

    @property
    def shown(self) -> Estimate:
        """The number to believe: of the hold-out where it was seen, else the likely one; never the luckiest of many."""
        return self.holdout or self.likely


@dataclass(frozen=True, slots=True)
class Counters:
    """What is shown of a task without its runs: any of it can be counted again from them."""

    num_runs: int = 0
    num_official: int = 0
    num_improvements: int = 0
    best: str | None = None
    best_value: float | None = None
    by_agent: tuple[tuple[str, int], ...] = ()


def rank(runs: Iterable[BoardRun], direction: Direction) -> list[Row]:
    """The leaderboard: official runs, the best first; of equal ones the earlier."""
    official = sorted((r for r in runs if r.is_official), key=lambda r: (-direction.sign * r.value, r.number))
    likely = shrink([run.cases or run.values for run in official])
    return [
        Row(place, run, interval(run.values), worth, interval(run.holdout) if run.holdout else None)
        for place, (run, worth) in enumerate(zip(official, likely, strict=True), 1)
    ]


def read_claim(said: object) -> float | None:
    """The number that an agent gives for its own run, None for a crash; BadInput for what is no finite number."""
    if said is None:
        return None
    if isinstance(said, bool) or not isinstance(said, int | float) or not abs(said) <= sys.float_info.max:
        raise BadInput("a score is a finite number, or null for a crash", where="score", got=ascii(said)[:80])
    return float(said)


def improvements(runs: Iterable[BoardRun], direction: Direction) -> list[BoardRun]:
    """The chain of bests in order of submission: each official, kept where it was compared, better than all before."""
    chain: list[BoardRun] = []
    for run in sorted(runs, key=lambda run: run.number):
        if _improves(run, chain[-1].value if chain else None, direction):
            chain.append(run)
    return chain


def count(runs: Sequence[BoardRun], direction: Direction) -> Counters:
    """The counters from the runs alone, as after any invalidation."""
    chain = improvements(runs, direction)
    return Counters(
        num_runs=len(runs),
        num_official=sum(run.is_official for run in runs),
        num_improvements=len(chain),
        best=chain[-1].commit if chain else None,
        best_value=chain[-1].value if chain else None,
        by_agent=tuple(sorted(Counter(run.agent for run in runs).items())),
    )


def due_for_holdout(runs: Sequence[BoardRun], direction: Direction, max_looks: int) -> list[BoardRun]:
    """The runs that may see the hold-out now: of the best `max_looks`, those that have not.

    Looks are counted over the life of a task, also of runs that were called off since: what many have seen holds
    nothing out any more.
    """
    left = max_looks - sum(bool(run.holdout) for run in runs)
    top = [row.run for row in rank(runs, direction)[:max_looks] if not row.run.holdout]
    return top[: max(left, 0)]


def _improves(run: BoardRun, best: float | None, direction: Direction) -> bool:
    if not run.is_official or run.is_kept is False:
        return False
    return best is None or direction.sign * (run.value - best) > 0
