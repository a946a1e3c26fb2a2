"""Compares stored Reports: what practice gained, which levels it reached, and how much of it is strategy or skill."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from evolvent.evals import metrics
from evolvent.evals.measure import join
from evolvent.records import Cell, Estimate, Report

CellKey = tuple[str, int]
REACHED_AT = 0.5  # a level counts as reached from this held-out accuracy on


def cell_of(report: Report, key: CellKey) -> Cell | None:
    """The report's cell of one (family, level)."""
    return next((c for c in report.cells if (c.family, c.level) == key), None)


def align(left: Cell, right: Cell) -> tuple[Cell, Cell]:
    """Two cells cut down to the tasks that both hold, in the same order."""
    there = set(right.task_ids)
    common = [t for t in left.task_ids if t in there]
    return _only(left, common), _only(right, common)


def _only(cell: Cell, task_ids: Sequence[str]) -> Cell:
    place = {t: i for i, t in enumerate(cell.task_ids)}
    chosen = [place[t] for t in task_ids]

    def pick(column: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(column[i] for i in chosen)

    return replace(
        cell,
        task_ids=tuple(task_ids),
        scores=pick(cell.scores),
        used_tool=pick(cell.used_tool),
        right_with_tool=pick(cell.right_with_tool),
        best=pick(cell.best),
        num_tokens=pick(cell.num_tokens),
    )


def gain(before: Report, after: Report, keys: Collection[CellKey]) -> Estimate:
    """Accuracy after minus before on the same tasks of the given cells."""
    pairs = [_pair(before, after, key) for key in keys]
    found = [p for p in pairs if p is not None]
    if not found:
        return Estimate(math.nan, math.nan, math.nan, 0)
    left, right = join([p[0] for p in found]), join([p[1] for p in found])
    return metrics.difference(right.scores, left.scores)


def _pair(before: Report, after: Report, key: CellKey) -> tuple[Cell, Cell] | None:
    left, right = cell_of(before, key), cell_of(after, key)
    return align(left, right) if left is not None and right is not None else None


def compare_levels(
    before: Report,
    after: Report,
    *,
    start: Collection[CellKey],
    cold: Collection[CellKey],
    trained: Collection[CellKey],
) -> list[dict[str, Any]]:
    """A row per (family, level): a level is reached when it was trained, `after` >= 0.5 and the gain's low end > 0.

    What was trained and never measured has a row of None.
    """
    measured = [(cell.family, cell.level) for cell in after.cells]
    rows: list[dict[str, Any]] = []
    for key in [*measured, *sorted({*start, *cold, *trained} - set(measured))]:
        row = {"family": key[0], "level": key[1], "start": key in start, "in_cold_start": key in cold}
        pair = _pair(before, after, key)
        if pair is None or not pair[1].scores:
            rows.append({**row, **dict.fromkeys(("reached", "before", "after", "low", "high"))})
            continue
        change = metrics.difference(pair[1].scores, pair[0].scores)
        value = sum(pair[1].scores) / len(pair[1].scores)
        rows.append(
            {
                **row,
                "reached": key in trained and value >= REACHED_AT and change.low > 0,
                "before": sum(pair[0].scores) / len(pair[0].scores),
                "after": value,
                "low": change.low,
                "high": change.high,
            }
        )
    return rows


def skill_gap(after: Report, control: Report, keys: Collection[CellKey]) -> Estimate:
    """Accuracy given tool use, this run minus the control, on the same tasks of the given cells."""
    pairs = [p for p in (_pair(control, after, key) for key in keys) if p is not None]
    if not pairs:
        return Estimate(math.nan, math.nan, math.nan, 0)
    theirs, ours = join([p[0] for p in pairs]), join([p[1] for p in pairs])
    return metrics.ratio_difference((ours.right_with_tool, ours.used_tool), (theirs.right_with_tool, theirs.used_tool))


def verdict(
    difference: Estimate, forced_share: float, skill: Estimate | None, control: str, *, uses_tool: bool = True
) -> str:
    """One sentence that claims no more than was measured."""
    if math.isnan(difference.value):
        return "nothing to compare: no task was measured on both sides"
    if difference.high < 0:
        return "a loss: the whole interval of the difference lies below zero"
    if not difference.low > 0:
        return "no gain: the interval of the difference holds zero"
    if not uses_tool:
        return "strategy, not skill: no tool was called before or after, so no accuracy given tool use can be compared"
    part = f"forcing a tool call at the start alone reproduces {max(0.0, forced_share):.0%} of the gain"
    if skill is None:
        return f"strategy, not skill: {part}; no control to compare with (evolvent run sft with the same seed)"
    if math.isnan(skill.value):
        return f"strategy, not skill: {part}; on levels that the cold start never showed there is nothing to compare"
    if not skill.low > 0:
        return f"strategy, not skill: {part}; accuracy given tool use is no better than in {control}"
    return (
        f"strategy and skill: {part}; on levels that the cold start never showed, accuracy given tool use "
        f"is {skill.value:+.2f} [{skill.low:+.2f}, {skill.high:+.2f}] against {control}"
    )


def verdict_of_control(difference: Mapping[str, Any]) -> str:
    """One sentence about a run whose practice was imitation: it makes no claim, others are measured against it."""
    low, value, high = (math.nan if difference[k] is None else difference[k] for k in ("low", "value", "high"))
    return f"the control: imitation moved the starting level by {value:+.2f} [{low:+.2f}, {high:+.2f}]"


def as_numbers(estimate: Estimate | None) -> dict[str, float | int | None] | None:
    """An estimate as JSON values; what is not a number becomes null."""
    if estimate is None:
        return None
    return {k: clean(getattr(estimate, k)) for k in ("value", "low", "high", "num")}


def clean(value: float) -> float | None:
    """A number, or None for NaN."""
    return None if isinstance(value, float) and math.isnan(value) else value


def cells_drawn(lines: Sequence[Mapping[str, Any]], phase: str) -> set[CellKey]:
    """The (family, level) cells that the steps of a phase drew."""
    names = {name for line in lines if line.get("phase") == phase for name in line.get("levels", {})}
    return {(n.rpartition(":")[0], int(n.rpartition(":")[2])) for n in names}
