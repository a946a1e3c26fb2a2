"""A finished run in numbers: what `evolvent run` prints, computed from the files of the run directory alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from evolvent.evals import compare
from evolvent.evals.compare import CellKey, as_numbers, clean
from evolvent.records import Report
from evolvent.store import Run

SIDES = {"sampled": ("before", "after"), "greedy": ("greedy-before", "greedy-after")}


def summarize_run(run: Run, control: Run | None = None) -> dict[str, Any]:
    """The summary of a run; `control` is a run of the same cold start whose practice was imitation."""
    reports = {r.name: r for r in run.reports()}
    lines = run.metrics()
    kept = run.last_checkpoint()
    summary: dict[str, Any] = {
        "run": str(run.path.resolve()),
        "recipe": run.info.get("recipe"),
        "seed": run.seed,
        "seconds": _seconds(run),
        "cold_start": _cold_start(run, lines),
        "practice_tokens": sum(line.get("num_written", 0) for line in lines if line.get("phase") == "practice"),
        "before": _side(reports, 0),
        "after": _side(reports, 1),
        "checkpoint": str(kept[1].resolve()) if kept else None,
    }
    if "before" in reports and "after" in reports:
        summary |= _gains(reports["before"], reports["after"], reports, lines, control)
        summary["is_control"] = bool(json.loads(run.plan_json).get("practice_workflow"))
        if summary["is_control"]:
            summary["verdict"] = compare.verdict_of_control(summary["difference"])
    return summary


def _seconds(run: Run) -> float:
    """From begin to end; of a run that was stopped on the way, the sum of the parts that were timed."""
    lines = run.timings()
    parts = sum(v for line in lines for k, v in line.items() if k.endswith("_s") and k != "total_s")
    return float(max(parts, sum(line.get("total_s", 0.0) for line in lines)))


def _cold_start(run: Run, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    cold = [line for line in lines if line.get("phase") == "cold start"]
    steps = {line["step"] for line in cold}
    tasks = sum(line["num_episodes"] for line in cold)
    seconds = sum(
        v for line in run.timings() if line["step"] in steps for k, v in line.items() if k in ("play_s", "update_s")
    )
    with_tool = sum(line["tool_use"] * line["num_episodes"] for line in cold)
    return {
        "tasks": tasks,
        "tokens": sum(line["num_written"] for line in cold),
        "seconds": seconds,
        "share_with_tool": with_tool / tasks if tasks else 0.0,
    }


def _side(reports: Mapping[str, Report], side: int) -> dict[str, Any]:
    """The starting level before (0) or after (1) practice."""
    found: dict[str, Any] = {}
    for metric, names in SIDES.items():
        report = reports.get(names[side])
        found[metric] = clean(report.metrics[metric].value) if report else None
    main = reports.get(SIDES["sampled"][side])
    for metric in ("tool_use", "accuracy_given_tool"):
        found[metric] = clean(main.metrics[metric].value) if main else None
    if side == 0:
        for name, metric in (("tool-forced", "tool_forced"), ("best-of-k", "best_of_k")):
            found[metric] = clean(reports[name].metrics[metric].value) if name in reports else None
    return found


def _uses_tool(*reports: Report) -> bool:
    return any(share > 0 for report in reports for cell in report.cells for share in cell.used_tool)


def _gains(
    before: Report,
    after: Report,
    reports: Mapping[str, Report],
    lines: Sequence[Mapping[str, Any]],
    control: Run | None,
) -> dict[str, Any]:
    first: dict[str, int] = {}
    for cell in before.cells:
        first.setdefault(cell.family, cell.level)
    start: set[CellKey] = set(first.items())
    cold = compare.cells_drawn(lines, "cold start")
    trained = compare.cells_drawn(lines, "practice")
    absent = [(c.family, c.level) for c in after.cells if (c.family, c.level) not in cold]
    difference = compare.gain(before, after, start)
    forced = compare.gain(before, reports["tool-forced"], start).value if "tool-forced" in reports else 0.0
    share = forced / difference.value if difference.value else 0.0
    theirs = next((r for r in control.reports() if r.name == "after"), None) if control else None
    skill = compare.skill_gap(after, theirs, absent) if theirs else None
    return {
        "difference": as_numbers(difference),
        "tool_forcing_share": clean(share),
        "levels": compare.compare_levels(before, after, start=start, cold=cold, trained=trained),
        "skill": as_numbers(skill),
        "control": str(control.path.resolve()) if control else None,
        "verdict": compare.verdict(
            difference, share, skill, control.name if control else "", uses_tool=_uses_tool(before, after)
        ),
    }
