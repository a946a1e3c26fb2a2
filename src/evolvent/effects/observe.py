"""From two finished arms to what one seed says about a claim."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from evolvent.effects.arms import Arm
from evolvent.errors import BadInput, nearest
from evolvent.evals.contrast import Kind, Observation

COLUMNS = {"scores": "accuracy", "used_tool": "tool use"}  # what they are called


def compare_tasks(
    claim: str,
    kind: Kind,
    treated: Arm,
    control: Arm,
    *,
    column: str = "scores",
    levels: Iterable[int] = (),
    **more: Any,
) -> Observation:
    """A column of the last report, paired by the held-out tasks that both arms were measured on.

    `column` is scores, used_tool, right_with_tool, best or num_tokens; `levels` picks some, by default all that the
    suite holds; `more` are further fields of the Observation, such as tolerance= and metric=.
    """
    levels = tuple(levels)
    ours, theirs = treated.outcomes(column, levels=levels), control.outcomes(column, levels=levels)
    common = [task for task in ours if task in theirs]
    metric = more.pop("metric", COLUMNS.get(column, column.replace("_", " ")))
    return Observation(
        claim=claim,
        kind=kind,
        metric=metric,
        treated=tuple(ours[task] for task in common),
        control=tuple(theirs[task] for task in common),
        spent=treated.spent,
        spent_control=control.spent,
        **more,
    )


def compare_ends(
    claim: str, kind: Kind, arm: Arm, *, column: str = "scores", levels: Iterable[int] = (), **more: Any
) -> Observation:
    """A column of the last report against that of the first, on the same held-out tasks: two ends of one run."""
    levels = tuple(levels)
    before, after = arm.outcomes(column, report="before", levels=levels), arm.outcomes(column, levels=levels)
    common = [task for task in after if task in before]
    return Observation(
        claim=claim,
        kind=kind,
        metric=more.pop("metric", COLUMNS.get(column, column.replace("_", " "))),
        treated=tuple(after[task] for task in common),
        control=tuple(before[task] for task in common),
        spent=arm.spent,
        spent_control=arm.spent,
        **more,
    )


def compare_steps(
    claim: str, kind: Kind, treated: Arm, control: Arm, *, key: str, last: int | None = None, **more: Any
) -> Observation:
    """A number of the metrics lines, paired by step of practice; `last` takes only so many steps from the end.

    Neighbouring steps resemble each other, so the interval within a seed is narrower than it should be: the
    spread between seeds is what counts.
    """
    return Observation(
        claim=claim,
        kind=kind,
        metric=more.pop("metric", key.replace("_", " ")),
        treated=_column(treated, key, last),
        control=_column(control, key, last),
        spent=treated.spent,
        spent_control=control.spent,
        unit="step",
        **more,
    )


def _column(arm: Arm, key: str, last: int | None) -> tuple[float, ...]:
    lines = arm.lines[-last:] if last else arm.lines
    known = sorted({name for line in lines for name, value in line.items() if isinstance(value, int | float)})
    if key not in known:
        raise BadInput(f"no number {key!r} in the lines of practice", got=key, cure=nearest(key, known))
    return tuple(float(line[key]) for line in lines if line.get(key) is not None)
