"""Turns the runs of a task into the chart of its best over time: a drawing, and the numbers for a livelier one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from evolvent.dashboard.scale import Scale, lay_scale, write_ticks

Run = dict[str, Any]

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760.0, 260.0, 58.0, 14.0, 12.0, 26.0
MAX_POINTS = 600


@dataclass(frozen=True, slots=True)
class Progress:
    """Official runs in order of submission, the best that was kept by then, and the line their numbers lie on."""

    runs: tuple[Run, ...]
    best: tuple[float | None, ...]
    scale: Scale


def follow(runs: Iterable[Run], is_more_better: bool) -> Progress:
    """The progress of a task from its official runs: only what was kept becomes the best, never a lucky number.

    A run has number, sha, agent_id, value, low, high and is_kept.
    """
    official = sorted(runs, key=lambda run: int(run["number"]))
    best: list[float | None] = []
    for run in official:
        before, value = best[-1] if best else None, float(run["value"])
        is_better = before is None or (value > before if is_more_better else value < before)
        best.append(value if run["is_kept"] and is_better else before)
    late = len(official) - MAX_POINTS  # of very many the later ones, and all that were kept
    shown = [place for place, run in enumerate(official) if place >= late or run["is_kept"]]
    kept = [float(run["value"]) for run in official if run["is_kept"]]
    scale = lay_scale([float(official[place]["value"]) for place in shown], is_more_better, kept)
    return Progress(tuple(official[place] for place in shown), tuple(best[place] for place in shown), scale)


def tell_chart(progress: Progress, task: str) -> str:
    """The chart as JSON for the script that draws it to be pointed at."""
    return json.dumps(
        {
            **{name: [run[name] for run in progress.runs] for name in ("number", "value", "low", "high")},
            "best": progress.best,
            "isKept": [bool(run["is_kept"]) for run in progress.runs],
            "agent": [run["agent_id"] for run in progress.runs],
            "href": [f"/tasks/{task}/runs/{run['sha']}" for run in progress.runs],
            "range": [progress.scale.low, progress.scale.high],
            "decimals": progress.scale.decimals,
        },
        allow_nan=False,
        separators=(",", ":"),
    )


def draw_progress(progress: Progress, metric: str) -> Markup:
    """The chart as a picture, for whoever has no script."""
    if not progress.runs:
        return Markup("")
    parts = _axes(progress)
    path = ""
    for run, best in zip(progress.runs, progress.best, strict=True):
        if best is not None:
            x, y = _at(progress, run["number"], best)
            path += f"H{x}V{y}" if path else f"M{x} {y}"
    parts.append(f'<path class="best" d="{path}H{WIDTH - RIGHT}"/>' if path else "")
    for run in progress.runs:
        x, y = _at(progress, run["number"], run["value"])
        if run["low"] is not None and run["high"] is not None:
            (_, low), (_, high) = _at(progress, 0, run["low"]), _at(progress, 0, run["high"])
            parts.append(f'<line class="reach" x1="{x}" x2="{x}" y1="{low}" y2="{high}"/>')
        kind, size = ("dot best", 4.0) if run["is_kept"] else ("dot", 2.6)
        kind += "" if progress.scale.holds(run["value"]) else " far"
        parts.append(f'<circle class="{kind}" cx="{x}" cy="{y}" r="{size}"/>')
    last = progress.scale.write(progress.best[-1])
    said = f"{metric} of {len(progress.runs)} measured runs; the best that was kept is {last}"
    view = f"0 0 {WIDTH:g} {HEIGHT:g}"
    return Markup(
        f'<svg class="progress" viewBox="{view}" role="img" aria-label="{escape(said)}">{"".join(parts)}</svg>'
    )


def _axes(progress: Progress) -> list[str]:
    parts = []
    ticks = progress.scale.ticks(5)
    for tick, words in zip(ticks, write_ticks(ticks), strict=True):
        _, y = _at(progress, 0, tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{words}</text>')
    first, last = _ends(progress.runs)
    for number in sorted({first, (first + last) // 2, last}):
        x, _ = _at(progress, number, progress.scale.low)
        parts.append(f'<text x="{x}" y="{HEIGHT - 6}" text-anchor="middle">{number}</text>')
    return parts


def _at(progress: Progress, number: float, value: float) -> tuple[float, float]:
    first, last = _ends(progress.runs)
    x = LEFT + 6 + (WIDTH - LEFT - RIGHT - 12) * (number - first) / max(1, last - first)
    return round(x, 1), round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * progress.scale.share(value), 1)


def _ends(runs: Sequence[Run]) -> tuple[int, int]:
    return int(runs[0]["number"]), int(runs[-1]["number"])
