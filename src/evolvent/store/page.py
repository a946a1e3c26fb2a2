"""Turns a run directory into one page that opens anywhere: no network, no script, light and dark, printable."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evolvent.errors import EvolventError
from evolvent.records import Estimate, Report
from evolvent.store.atomic import write_text
from evolvent.store.charts import Point, Series, Whisker, draw_lines, draw_shares, draw_whiskers, short
from evolvent.store.excerpts import excerpts
from evolvent.store.run import Run

Lines = Sequence[Mapping[str, Any]]

# key, title, whether it is a share, and what it says
CURVES = (
    ("reward_mean", "Reward", False, "mean over the attempts of a step"),
    ("accuracy", "Accuracy on training tasks", True, "the tasks get harder as the curriculum climbs"),
    ("tool_use", "Tool use", True, "share of attempts with a tool call"),
    ("entropy", "Entropy", False, "of the policy's next-token choice, nats"),
    ("length_mean", "Length", False, "tokens that the policy wrote per attempt"),
    ("signal_share", "Signal share", True, "groups whose attempts differ, so that they teach"),
    ("loss", "Loss", False, "per token"),
    ("grad_norm", "Gradient norm", False, "before clipping"),
    ("kl_sampler_trainer", "Sampler against trainer", False, "divergence, nats per token; near zero is right"),
    ("truncated_share", "Cut off", True, "attempts that ran out of a budget"),
)
LEVEL_KEYS = ("family", "level", "start", "in_cold_start", "reached", "before", "after", "low", "high")
TOTALS = {"total_s", "step_s", "elapsed_s", "seconds", "total", "wall_s"}
# names and words may hold anything; a control character shows as its picture
_CONTROLS = {c: 0x2400 + c for c in range(32) if chr(c) not in "\n\t"} | {0x7F: 0x2421}


def write_report_page(run: Run, summary: Mapping[str, Any] | None = None) -> Path:
    """Write `report.html` into the run directory, where parts that the run never wrote are left out and said.

    `summary` is what `evolvent run --json` prints; without it, `summary.json` of the run directory is read if there.
    """
    path, kept = run.path / "report.html", run.path / "summary.json"
    if summary is None and kept.is_file():
        summary = json.loads(kept.read_text(encoding="utf-8"))
    write_text(path, render(run, summary or {}))
    return path


def render(run: Run, summary: Mapping[str, Any]) -> str:
    """The page as HTML."""
    import jinja2

    notes: list[str] = []
    read = functools.partial(_read, notes)
    lines: Lines = read(run.metrics, [])
    reports: list[Report] = read(run.reports, [])
    shown = read(lambda: excerpts(run), {})
    home = Path(__file__).with_name("page.html.j2")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"short": short, "percent": _percent, "seconds": _seconds}
    page = environment.from_string(home.read_text(encoding="utf-8")).render(
        info=run.info,
        plan=read(lambda: json.loads(run.plan_json), None),
        last_step=max((int(line["step"]) for line in lines), default=None),
        summary=summary,
        headline=_headline(summary, reports),
        whiskers=draw_whiskers(_whiskers(reports), title="Measured before and after"),
        others=[r.name for r in reports if _side(r.name)[1] == "" and r.name],
        curves=_curves(lines),
        heats=_heats(reports),
        levels=[{key: row.get(key) for key in LEVEL_KEYS} for row in summary.get("levels") or ()],
        shares=_shares(lines),
        rounds=read(run.diagnoses, []),
        excerpts=shown,
        top_credit=_top_credit(shown),
        costs=_costs(lines, read(run.timings, [])),
        notes=notes,
    )
    return page.translate(_CONTROLS)


def _read(notes: list[str], act: Callable[[], Any], otherwise: Any) -> Any:
    """What could be read; what could not is said on the page instead of hiding the rest."""
    try:
        return act()
    except (EvolventError, ValueError, OSError) as error:
        notes.append(str(error))
        return otherwise


# ---------------------------------------------------------------- before and after


def _headline(summary: Mapping[str, Any], reports: Sequence[Report]) -> dict[str, Any] | None:
    """Before, after and difference as numbers with bounds where they are known."""
    sides = {side: _estimate((summary.get(side) or {}).get("sampled")) for side in ("before", "after")}
    for report in reports:
        measured, said = report.metrics.get("sampled"), sides.get(report.name)
        if (
            report.name in sides
            and measured
            and (said is None or math.isclose(said.value, measured.value, abs_tol=1e-9))
        ):
            sides[report.name] = measured
    before, after = sides["before"], sides["after"]
    if before is None and after is None:
        return None
    difference = _estimate(summary.get("difference"))
    if difference is None and before and after:
        change = after.value - before.value
        difference = Estimate(change, float("nan"), float("nan"), after.num)
    is_known = difference is not None and not math.isnan(difference.low)
    return {
        "before": before,
        "after": after,
        "difference": difference,
        "is_known": is_known,
        "verdict": summary.get("verdict") or _verdict(difference if is_known else None),
    }


def _verdict(difference: Estimate | None) -> str:
    if difference is None:
        return "No interval was computed for the difference, so this page makes no claim."
    if difference.low > 0:
        return "The agent got better: the whole interval of the difference lies above zero."
    if difference.high < 0:
        return "The agent got worse: the whole interval of the difference lies below zero."
    return "No change can be claimed: the interval of the difference holds zero."


def _estimate(value: Any) -> Estimate | None:
    nan = float("nan")
    if isinstance(value, Estimate):
        return value
    if isinstance(value, Mapping) and isinstance(value.get("value"), int | float):
        bounds = [nan if value.get(k) is None else float(value[k]) for k in ("low", "high")]
        return Estimate(float(value["value"]), bounds[0], bounds[1], int(value.get("num") or 0))
    if isinstance(value, int | float):
        return Estimate(float(value), nan, nan, 0)
    return None


def _side(name: str) -> tuple[str, str]:
    """A report's name as (kind, before or after): `greedy-before` is ("greedy", "before")."""
    for side in ("before", "after"):
        if name == side:
            return "", side
        if name.endswith(f"-{side}"):
            return name.removesuffix(f"-{side}"), side
    return name, ""


def _whiskers(reports: Sequence[Report]) -> list[Whisker]:
    found: dict[tuple[str, str], Whisker] = {}
    for report in reports:
        kind, side = _side(report.name)
        if kind == "heldout":  # a small sample on the way; the learning curves show it
            continue
        shares = {name: e for name, e in report.metrics.items() if 0 <= e.low <= e.high <= 1}
        if kind:  # a control or another way of sampling: its accuracy alone
            first = next((n for n in (kind.replace("-", "_"), "sampled", "accuracy", "greedy") if n in shares), None)
            shares = {kind: shares[first]} if first else {}
        for name, e in shares.items():
            row = name.replace("_", " ").replace("-", " ")
            # the latest report of a name counts
            found[row, side] = Whisker(
                row, side or "control", e.value, e.low, e.high, {"before": 5, "after": 0}.get(side, 1)
            )
    rows = list(dict.fromkeys(row for row, _ in found))
    order = sorted(rows, key=lambda row: (found.get((row, "")) is not None, rows.index(row)))
    return [found[row, side] for row in order for side in ("before", "after", "") if (row, side) in found]


def _heats(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """Mean score per family and level, before and after, and how it changed."""
    sides: dict[str, dict[tuple[str, int], tuple[float, int]]] = {}
    for report in reports:
        if report.name in ("before", "after"):
            sides[report.name] = {
                (c.family, c.level): (sum(c.scores) / len(c.scores), len(c.scores)) for c in report.cells if c.scores
            }
    keys = {key for cells in sides.values() for key in cells}
    families, levels = sorted({f for f, _ in keys}), sorted({n for _, n in keys})
    if len(sides) == 2:
        before, after = sides["before"], sides["after"]
        sides["change"] = {k: (after[k][0] - before[k][0], after[k][1]) for k in keys if k in before and k in after}
    return [
        {"name": name, "families": families, "levels": levels, "cells": sides[name]}
        for name in ("before", "after", "change")
        if name in sides
    ]


# ---------------------------------------------------------------- over the steps


def _curves(lines: Lines) -> list[dict[str, str]]:
    cold = [int(line["step"]) for line in lines if line.get("phase") == "cold start"]
    shade = [(float(min(cold)), float(max(cold)))] if cold else []
    steps = [float(line["step"]) for line in lines]
    span = (min(steps), max(steps)) if steps else (0.0, 0.0)
    charts = [_heldout(lines, span, shade)]
    for key, title, is_share, words in CURVES:
        one = Series(title.lower(), _points(lines, key))
        svg = draw_lines([one], title=title, span=span, shade=shade, is_share=is_share)
        charts.append({"title": title, "words": words, "svg": svg, "names": ()})
    return [chart for chart in charts if chart["svg"]]


def _heldout(lines: Lines, span: Point, shade: Sequence[Point]) -> dict[str, Any]:
    keys = sorted({key for line in lines for key in line if key.startswith("heldout/")})
    shares = [k for k in keys if all(0 <= y <= 1 for _, y in _points(lines, k)) and _points(lines, k)][:6]
    names = [key.removeprefix("heldout/").replace("_", " ") for key in shares]
    series = [
        Series(n, _points(lines, k), tone, is_sparse=True)
        for tone, (n, k) in enumerate(zip(names, shares, strict=True))
    ]
    svg = draw_lines(series, title="Held-out", span=span, shade=shade, is_share=True)
    return {"title": "Held-out tasks", "words": "problems that training never saw", "svg": svg, "names": names}


def _points(lines: Lines, key: str) -> tuple[tuple[float, float], ...]:
    return tuple(
        (float(line["step"]), float(line[key]))
        for line in lines
        if isinstance(line.get(key), int | float) and not isinstance(line[key], bool)
    )


def _shares(lines: Lines) -> list[dict[str, Any]]:
    """What the curriculum drew: by level, and by family where there are several."""
    drawn = [
        (int(line["step"]), line["levels"])
        for line in lines
        if isinstance(line.get("levels"), Mapping) and line["levels"]
    ]
    charts = []
    for title, place, colours in (("level", 2, "ramp"), ("family", 0, "tone")):
        kinds = {key.rpartition(":")[place] for _, levels in drawn for key in levels}
        names = sorted(kinds, key=lambda n: (not n.lstrip("-").isdigit(), int(n) if n.lstrip("-").isdigit() else 0, n))
        if not names or (title == "family" and len(names) < 2):
            continue
        columns = [
            (step, [sum(v for k, v in levels.items() if k.rpartition(":")[place] == name) for name in names])
            for step, levels in drawn
        ]
        svg = draw_shares(columns, names, title=f"Tasks drawn, by {title}", colours=colours)
        charts.append({"title": title, "names": names, "svg": svg, "colours": colours})
    return charts


# ---------------------------------------------------------------- episodes and costs


def _top_credit(shown: Mapping[str, Any]) -> float:
    sizes = [abs(t.credit) for some in shown.values() for e in some for turn in e.turns for t in turn.tokens]
    return max(sizes, default=0.0) or 1.0


def _costs(lines: Lines, timings: Lines) -> dict[str, Any]:
    stages: dict[str, float] = {}
    for line in timings:
        for key, value in line.items():
            if key.endswith("_s") and key not in TOTALS and isinstance(value, int | float):
                stages[key] = stages.get(key, 0.0) + value
    total = sum(stages.values())
    phases: dict[str, dict[str, float]] = {}
    for line in lines:
        if line.get("phase"):
            sums = phases.setdefault(str(line["phase"]), {"steps": 0, "num_episodes": 0, "num_tokens": 0})
            sums["steps"] += 1
            for key in ("num_episodes", "num_tokens"):
                sums[key] += line.get(key) or 0
    rows = [
        (key.removesuffix("_s").replace("_", " "), spent, spent / total if total else 0.0)
        for key, spent in sorted(stages.items(), key=lambda item: -item[1])
    ]
    return {"stages": rows, "total": total, "phases": phases}


def _percent(value: float | None, num_digits: int = 0) -> str:
    return "\u2013" if value is None or math.isnan(value) else f"{100 * value:.{num_digits}f}\u2009%"


def _seconds(value: float) -> str:
    if value < 100:
        return f"{value:.1f} s"
    return f"{int(value) // 60} min {int(value) % 60:02d} s"
