"""Says what a run has shown, for those who come after: change, result, kept or not, and why."""

from __future__ import annotations

from collections.abc import Mapping

from evolvent.hive.agents.proposer import Wire
from evolvent.records import Finding


def tell_finding(task: str, run: Wire, parent: Wire | None, cost: Mapping[str, float]) -> str:
    """The words of a finding."""
    finding = find(task, run, parent, cost)
    value, before = finding.result["value"], finding.result["parent"]
    lines = [f"change: {finding.change}", f"result: {shown(run) if value is not None else 'no official number'}"]
    if before is not None:
        lines[1] += f", where its parent {(parent or {})['id'][:8]} has {before:.6g}"
    lines.append(f"kept: {'yes' if finding.kept else 'no'}, {finding.why}")
    spent = ((f"{amount:.3g}", name) for name, amount in finding.budget.items() if amount)
    lines.append("cost: " + ", ".join(f"{num} {name.removesuffix('s') if num == '1' else name}" for num, name in spent))
    return "\n".join(lines)


def find(task: str, run: Wire, parent: Wire | None, cost: Mapping[str, float]) -> Finding:
    """A run as the record of one experiment."""
    before = parent["verified_score"] if parent and parent["verified"] else None
    return Finding(
        finding_id=f"{task}-{run['number']}",
        change=run["tldr"],
        budget={"evaluations": 1, "seconds": round(run.get("seconds") or 0.0, 3), **cost},
        result={"value": run["verified_score"] if run["verified"] else None, "parent": before, "commit": run["id"]},
        kept=run["is_kept"] is True,
        why=_why(run),
        parents=(run["parent_id"],) if run["parent_id"] else (),
    )


def shown(run: Wire) -> str:
    """The official number with its interval."""
    measured = run.get("measured") or {"value": run["verified_score"], "low": None, "high": None}
    ends = "" if measured["low"] is None else f" [{measured['low']:.6g}, {measured['high']:.6g}]"
    return f"{measured['value']:.6g}{ends}"


def beats(run: Wire, task: Wire) -> bool:
    """Whether a run measured better than the best of its task."""
    sign = -1 if task["direction"] == "minimize" else 1
    best = task["best_score"]
    return bool(run["verified"]) and (best is None or sign * (run["verified_score"] - best) > 0)


def _why(run: Wire) -> str:
    if not run["verified"]:
        return run.get("why") or "it was called off" if run["verification_status"] != "error" else "the hub failed"
    comparison = run.get("comparison")
    if comparison:
        return str(comparison["why"])
    if run["is_kept"] is None:
        return "not compared with the best so far"
    return "not better than the best of its time" if run["is_kept"] is False else "the first of all"
