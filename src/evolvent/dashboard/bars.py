"""Draws small pictures for rows of a table: intervals on a common line, and how the best came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from evolvent.dashboard.scale import Scale, write_ticks
from evolvent.dashboard.wording import counted

WIDTH, EDGE = 176.0, 6.0
LANES = (("measured", 6.0), ("likely", 14.0), ("holdout", 22.0))
WORDS = {"measured": "measured", "likely": "likely", "holdout": "hold-out"}


def draw_interval(scale: Scale, row: Mapping[str, Any]) -> Markup:
    """Measured, likely and hold-out value of a run, each between its bounds, one under the other."""
    parts, said = [], []
    for name, y in LANES:
        one = row.get(name)
        if not one:
            continue
        value = _x(scale, one["value"])
        if one.get("low") is not None and one.get("high") is not None:
            low, high = _x(scale, one["low"]), _x(scale, one["high"])
            parts.append(f'<line class="{name}" x1="{low}" x2="{max(high, low + 0.1)}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="{name}" cx="{value}" cy="{y}" r="3.2"/>')
        said.append(f"{WORDS[name]} {write_estimate(scale, one)}")
    return _svg(parts, "; ".join(said) or "no number yet", 28, "interval")


def draw_axis(scale: Scale) -> Markup:
    """The line that the intervals of a table share, with its numbers."""
    parts = []
    ticks = scale.ticks(4)[:5]
    for tick, words in zip(ticks, write_ticks(ticks), strict=True):
        x = _x(scale, tick)
        # a label at an end leans inward
        lean = "start" if x < 20 else "end" if x > WIDTH - 20 else "middle"
        parts.append(f'<line class="tick" x1="{x}" x2="{x}" y1="14" y2="19"/>')
        parts.append(f'<text x="{x}" y="10" text-anchor="{lean}">{words}</text>')
    return _svg(parts, "the scale of the bars", 20, "interval axis")


def write_estimate(scale: Scale, one: Mapping[str, Any]) -> str:
    """A number with its bounds in words."""
    low, high = one.get("low"), one.get("high")
    if low is None or high is None or low == high:
        return scale.write(one["value"])
    return f"{scale.write(one['value'])}, {scale.write(low)} to {scale.write(high)}"


def draw_spark(kept: Sequence[tuple[int, float]], num_runs: int, is_more_better: bool) -> Markup:
    """The best over the runs of a task as a staircase, from (number, value) of what was kept; nothing without any."""
    steps: list[tuple[int, float]] = []
    for number, value in kept:
        if not steps or (value > steps[-1][1] if is_more_better else value < steps[-1][1]):
            steps.append((number, value))
    if not steps:
        return Markup("")
    low, high = sorted((steps[0][1], steps[-1][1]))
    path, y = "", 17.0
    for number, value in steps:
        x = 3 + 114 * (number - 1) / max(1, num_runs - 1)
        y = 30 - 26 * (value - low) / (high - low) if high > low else 17.0
        path += f"H{x:.1f}V{y:.1f}" if path else f"M{x:.1f} {y:.1f}"
    said = f"{counted(len(steps) - 1, 'improvement')} in {counted(num_runs, 'run')}"
    end = f'<circle class="best" cx="117" cy="{y:.1f}" r="2.8"/>'
    view = 'class="spark" viewBox="0 0 122 34" width="122" height="34"'
    return Markup(f'<svg {view} role="img" aria-label="{said}"><title>{said}</title><path d="{path}H117"/>{end}</svg>')


def _x(scale: Scale, value: float) -> float:
    return round(EDGE + (WIDTH - 2 * EDGE) * scale.share(value), 1)


def _svg(parts: Sequence[str], said: str, height: int, kind: str) -> Markup:
    view = f'viewBox="0 0 {WIDTH:g} {height}" width="{WIDTH:g}" height="{height}"'
    title = f"<title>{escape(said)}</title>" if "axis" not in kind else ""
    return Markup(f'<svg class="{kind}" {view} role="img" aria-label="{escape(said)}">{title}{"".join(parts)}</svg>')
