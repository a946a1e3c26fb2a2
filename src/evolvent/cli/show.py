"""`evolvent show`: a run in the terminal, or two runs beside each other."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evolvent.cli.main import Command, refuse_fields
from evolvent.cli.screen import Screen, print_numbers
from evolvent.cli.words import one_line, percent, printable, sparkline
from evolvent.errors import BadInput, StoreError
from evolvent.evals import compare
from evolvent.evals.compare import as_numbers
from evolvent.evals.diagnosis import tell_rounds
from evolvent.evals.summary import summarize_run
from evolvent.records import Episode, Report, ToolCall, Weakness
from evolvent.store import Run

CURVES = (("reward_mean", "reward"), ("tool_use", "tool use"), ("signal_share", "signal"), ("entropy", "entropy"))
SHARES = ("reward_mean", "tool_use", "signal_share")


def main(command: Command) -> dict[str, Any]:
    """Everything that the files of a run say, in one look; a second word is the run to compare with."""
    refuse_fields(command)
    if len(command.words) not in (1, 2):
        raise BadInput(
            "show takes a run, and maybe a second one",
            where="evolvent show",
            got=" ".join(command.words) or "nothing",
            wanted="RUN [CONTROL]",
            cure="evolvent show runs/circle-0-1",
        )
    screen = Screen(as_json=command.json)
    with warnings() as notes:
        runs = [Run.reopen(Path(word).expanduser()) for word in command.words]
        answer = describe_run(runs[0], runs[1] if len(runs) > 1 else None)
    answer["notes"] = sorted(set(notes))
    _print(screen, answer, runs[0])
    return answer


def describe_run(run: Run, control: Run | None = None) -> dict[str, Any]:
    """The run's summary, and what a summary leaves out; computed from the files, whether or not the run has ended."""
    plan, lines, reports = _plan(run), run.metrics(), {r.name: r for r in run.reports()}
    answer = _kept_summary(run) if control is None else None
    answer = answer or summarize_run(run, control)
    last = max((int(line["step"]) for line in lines), default=0)
    planned = plan.get("num_steps", 0) + ((plan.get("cold_start") or {}).get("num_steps", 0))
    page = run.path / "report.html"
    answer |= {
        "step": last,
        "num_steps": planned,
        "finished": "after" in reports,
        "curves": {name: _curve(lines, key) for key, name in CURVES},
        "heldout": [
            [r.step, compare.clean(next(iter(r.metrics.values())).value)]
            for r in run.reports()
            if r.name in ("before", "heldout", "after")
        ],
        "tool_use_by_level": _tool_use(reports),
        "weaknesses": [_weakness(run, w) for w in (reports.get("after") or reports.get("before") or _NONE).weaknesses],
        "rounds": tell_rounds(run.diagnoses()),
        "gates": {
            **(plan.get("gates") or {}),
            "largest_gap": max((line.get("max_logprob_gap") or 0.0 for line in lines), default=0.0),
        },
        "stopped": run.stop(),
        "faults": int(sum(line.get("faults", 0) for line in lines)),
        "report": str(page) if page.is_file() else None,
    }
    answer["gates"].pop("is", None)
    if control is not None:
        answer["beside"] = _beside(run, control)
    return answer


_NONE = Report(0, "", (), {})


@contextmanager
def warnings() -> Iterator[list[str]]:
    """What the store warns of meanwhile (a torn last line), as texts instead of lines on stderr."""
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    log, ear = logging.getLogger("evolvent.store"), Ear()
    log.addHandler(ear)
    before, log.propagate = log.propagate, False
    try:
        yield heard
    finally:
        log.removeHandler(ear)
        log.propagate = before


def _plan(run: Run) -> dict[str, Any]:
    """The plan as plain JSON: looking at a run needs none of its parts."""
    try:
        plan = json.loads(run.plan_json)
    except ValueError as error:
        raise StoreError(
            "plan.json is broken",
            where=str(run.path / "plan.json"),
            got=str(error),
            cure="restore the file from a copy",
        ) from error
    return plan if isinstance(plan, dict) else {}


def _kept_summary(run: Run) -> dict[str, Any] | None:
    path = run.path / "summary.json"
    try:
        kept = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    moved = isinstance(kept, dict) and kept.get("run") != str(run.path.resolve())
    return None if moved or not isinstance(kept, dict) else kept


def _curve(lines: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    """The values of practice; of the cold start where practice has none (demonstrations are right by definition)."""
    found = {
        phase: [
            float(line[key]) for line in lines if line.get("phase") == phase and isinstance(line.get(key), int | float)
        ]
        for phase in ("practice", "cold start")
    }
    return found["practice"] or found["cold start"]


def _tool_use(reports: Mapping[str, Report]) -> list[dict[str, Any]]:
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for side in ("before", "after"):
        for cell in reports[side].cells if side in reports else ():
            row = rows.setdefault((cell.family, cell.level), {"family": cell.family, "level": cell.level})
            row[side] = sum(cell.used_tool) / len(cell.used_tool) if cell.used_tool else None
    return list(rows.values())


def _weakness(run: Run, weakness: Weakness) -> dict[str, Any]:
    """A weak cell with the words of an episode that shows it, where one was kept."""
    chosen = "family = '{}' AND level = {}".format(weakness.family.replace("'", "''"), weakness.level)
    kept = [e for name in ("after", "before") for e in run.episodes(name=name, where=f"{chosen} AND score < 1")]
    example = next((e for e in kept if e.episode_id in weakness.episode_ids), kept[0] if kept else None)
    found = {"family": weakness.family, "level": weakness.level, "accuracy": as_numbers(weakness.accuracy)}
    return found | ({"example": _words(example)} if example else {})


def _words(episode: Episode) -> dict[str, Any]:
    says = [t.message for trace in episode.traces for t in trace.turns if t.message.role != "user"]
    score = next((t.score for t in episode.traces if t.score), None)
    return {
        "question": episode.task.question,
        "transcript": ["; ".join(map(_called, m.calls)) if m.calls else m.text for m in says],
        "answer": episode.answer,
        "wanted": episode.task.private.answer if episode.task.private else None,
        "why": score.why if score else "",
    }


def _called(call: ToolCall) -> str:
    return f"{call.name}({call.raw if call.arguments is None else dict(call.arguments)})"


def _beside(run: Run, control: Run) -> dict[str, Any]:
    """The paired difference of what both runs measured at their ends, on the tasks that they share."""
    ours, theirs = ({r.name: r for r in one.reports()}.get("after") for one in (run, control))
    if ours is None or theirs is None:
        unfinished = run if ours is None else control
        raise StoreError(
            "a run that has not ended cannot be compared",
            where=str(unfinished.path),
            got="no report `after`",
            cure=f"evolvent run --resume {unfinished.path}",
        )
    rows = []
    for cell in ours.cells:
        change = compare.gain(theirs, ours, [(cell.family, cell.level)])
        if change.num:
            rows.append({"family": cell.family, "level": cell.level, **(as_numbers(change) or {})})
    if not rows:
        raise BadInput(
            "the two runs measured no task in common",
            where=str(control.path),
            got=f"seed {control.seed}",
            wanted=f"the same source and seed {run.seed}",
            cure="compare runs of one seed",
        )
    first = {cell.family: cell.level for cell in reversed(ours.cells)}
    whole = compare.gain(theirs, ours, list(first.items()))
    return {"control": str(control.path.resolve()), "difference": as_numbers(whole), "levels": rows}


# ---------------------------------------------------------------- what a person sees


def _print(screen: Screen, answer: Mapping[str, Any], run: Run) -> None:
    state = "finished" if answer["finished"] else f"unfinished, step {answer['step']} of {answer['num_steps']}"
    what = f"{answer.get('recipe')}, seed {answer.get('seed')}"
    screen.say(f"[bold]{run.name}[/bold]   {what}, {state}, {answer['seconds']:.0f} s")
    for note in answer["notes"]:
        screen.console.print(f"note: {note}", style="yellow", markup=False)
    screen.say("")
    for key, name in CURVES:
        values = answer["curves"][name]
        if values:
            bounds = (0.0, 1.0) if key in SHARES else (None, None)
            screen.say(
                f"{name:<11}{sparkline(values, low=bounds[0], high=bounds[1])}  {values[0]:.2f} -> {values[-1]:.2f}"
            )
    held = [v for _, v in answer["heldout"] if v is not None]
    if held:
        screen.say(f"{'held-out':<11}{sparkline(held, low=0.0, high=1.0)}  {percent(held[0])} -> {percent(held[-1])}")
    print_numbers(screen, answer)
    screen.say("")
    for row in answer["tool_use_by_level"]:
        screen.say(
            f"tool use   {row['family']}:{row['level']}   {percent(row.get('before'))} -> {percent(row.get('after'))}"
        )
    if "beside" in answer:
        _print_beside(screen, answer["beside"])
    _print_weaknesses(screen, answer["weaknesses"])
    _print_rounds(screen, answer["rounds"])
    screen.say(
        f"\ngates      largest gap between sampler and trainer {answer['gates']['largest_gap']:.1e} nats, "
        f"{answer['faults']} broken attempts"
    )
    screen.say(f"report     {answer['report'] or 'none yet: it is written at the end'}")
    if answer["stopped"]:
        why = one_line(answer["stopped"]["why"])
        screen.say(f"stopped    at step {answer['stopped']['step']} by {answer['stopped']['kind']}: {why}")
    if not answer["finished"]:
        screen.say(f"next       evolvent run --resume {run.path}")


def _print_beside(screen: Screen, beside: Mapping[str, Any]) -> None:
    screen.say(f"\nafter practice, this run minus {Path(beside['control']).name}, on the same tasks:")
    for row in beside["levels"]:
        bounds = f"{row['low']:+.3f} to {row['high']:+.3f}"
        screen.say(f"  {row['family']}:{row['level']}   {row['value']:+.3f}   {bounds}, {row['num']} tasks")
    whole = beside["difference"]
    screen.say(f"  starting level {whole['value']:+.3f}   {whole['low']:+.3f} to {whole['high']:+.3f}")


def _print_weaknesses(screen: Screen, weaknesses: Sequence[Mapping[str, Any]]) -> None:
    if weaknesses:
        screen.say("\nweakest")
    for weak in weaknesses:
        accuracy = weak["accuracy"]
        screen.say(
            f"  {weak['family']}:{weak['level']}   {percent(accuracy['value'])}   "
            f"({percent(accuracy['low'])} to {percent(accuracy['high'])})"
        )
        if "example" in weak:
            shown = weak["example"]
            words = " | ".join(one_line(t, 60) for t in shown["transcript"]) or "(nothing)"
            screen.console.print(
                f"    {one_line(shown['question'], 60)}  ->  {words}   wanted {printable(shown['wanted'] or '?')}",
                style="dim",
                markup=False,
            )


def _print_rounds(screen: Screen, rounds: Sequence[Mapping[str, Any]]) -> None:
    for found in rounds:
        screen.say(f"\narena      round {found['round']}, behind step {found['step']}, by {found['author']}")
        width = max((len(row["family"]) for row in found["classes"]), default=0)
        for row in found["classes"]:
            made = ", ".join(f"{kind} {num}" for kind, num in list(row["mistakes"].items())[:3]) or "no mistakes"
            weak = f"weak, rank {row['rank']}: {row['lack']}" if row["rank"] else ""
            bounds = f"({percent(row['low'])} to {percent(row['high'])})"
            screen.say(f"  {row['family']:<{width}}  {percent(row['success']):>7}  {bounds:<19}  {weak or made}")
