"""What stands of the runs of one task: which are official, in which order, and what was an improvement. Pure functions.

Official is what a trusted process measured and nobody has called off. Claims are shown, and rank nothing.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evolvent.errors import BadInput
from evolvent.hive.task import Direction


@dataclass(frozen=True, slots=True)
class BoardRun:
    """A run as the board sees it: one commit of one task, in the order of its submission (`number`).

    `value` is the official number, None where there is none (not measured yet, or invalid). `is_valid` is False once
    somebody called it off. `is_kept` is what the comparison with the incumbent said, None where none was made.
    `is_looked_at` says that it saw the hold-out, or is about to.
    """

    commit: str
    number: int
    value: float | None = None
    is_valid: bool = True
    is_kept: bool | None = None
    is_looked_at: bool = False

    def __post_init__(self) -> None:
        value = self.value
        if value is None:
            return
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise BadInput("a number on the board must be finite", where=self.commit, got=value)


@dataclass(frozen=True, slots=True)
class Counters:
    """What is shown of a task without its runs: any of it can be counted again from them."""

    num_official: int = 0
    num_improvements: int = 0
    best: str | None = None
    best_value: float | None = None


def rank(runs: Iterable[BoardRun], direction: Direction) -> list[BoardRun]:
    """The official runs, the best first; of equal ones the earlier."""
    official = [(-direction.sign * value, run.number, run) for run, value in _official(runs)]
    return [run for _, _, run in sorted(official, key=lambda entry: entry[:2])]


def improvements(runs: Iterable[BoardRun], direction: Direction) -> list[BoardRun]:
    """The chain of bests in order of submission: each official, kept where it was compared, better than all before."""
    chain: list[BoardRun] = []
    best = -math.inf
    for run, value in _official(sorted(runs, key=lambda run: run.number)):
        if run.is_kept is not False and (worth := direction.sign * value) > best:
            chain.append(run)
            best = worth
    return chain


def count(runs: Sequence[BoardRun], direction: Direction) -> Counters:
    """The counters from the runs alone, as after any invalidation."""
    chain = improvements(runs, direction)
    num = len(_official(runs))
    return Counters(num, len(chain), chain[-1].commit, chain[-1].value) if chain else Counters(num)


def due_for_holdout(runs: Sequence[BoardRun], direction: Direction, max_looks: int) -> list[BoardRun]:
    """The runs that may see the hold-out now: of the best `max_looks`, those that have not.

    Looks are counted over the life of a task, also of runs that were called off since: what many have seen holds
    nothing out any more.
    """
    left = max_looks - sum(run.is_looked_at for run in runs)
    top = [run for run in rank(runs, direction)[:max_looks] if not run.is_looked_at]
    return top[: max(left, 0)]


def read_claim(said: object) -> float | None:
    """The number that an agent gives for its own run, None for a crash; BadInput for what is no finite number."""
    if said is None:
        return None
    if isinstance(said, bool) or not isinstance(said, int | float) or not abs(said) <= sys.float_info.max:
        raise BadInput("a score is a finite number, or null for a crash", where="score", got=ascii(said)[:80])
    return float(said)


def _official(runs: Iterable[BoardRun]) -> list[tuple[BoardRun, float]]:
    return [(run, run.value) for run in runs if run.is_valid and run.value is not None]
