"""`evolvent eval`: a policy on held-out tasks, by level, with intervals."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from evolvent.cli.chosen import choose_tasks, in_headline, is_finite, read_asked, source_words
from evolvent.cli.main import Command
from evolvent.cli.outside import patience_of, take_agent
from evolvent.cli.screen import Screen
from evolvent.cli.subject import build_policies, find_subject, one_word, settle
from evolvent.cli.ticks import Watched, ticking
from evolvent.cli.words import one_line, percent
from evolvent.errors import InfrastructureError
from evolvent.evals import metrics
from evolvent.evals.compare import as_numbers, clean
from evolvent.evals.measure import View, join, measure, value_of
from evolvent.records import Cell, Episode, Estimate, Prompt, Report, Sampling, said
from evolvent.rewards import lift
from evolvent.rollouts.play import Stage
from evolvent.seeds import derive
from evolvent.tasks.source import Source

NUM_EXAMPLES = 3


def main(command: Command) -> dict[str, Any]:
    """Measure; the answer is the headline and a row for each level."""
    screen, start = Screen(as_json=command.json), time.monotonic()
    subject = find_subject(one_word(command, "POLICY"))
    asked = read_asked(command.fields)
    agent = take_agent(command.fields)
    setting = settle(subject, command, own=("num_tasks", "k", "level", "split"))
    setting = setting if agent is None else replace(setting, workflow=agent)
    source, held_out = choose_tasks(subject, setting, asked)
    policies = build_policies(subject, setting)
    if subject.is_endpoint:
        _knock(policies["agent"])
    view = View("eval", "accuracy", setting.temperature, asked.k)
    how = Sampling(setting.budgets.turn_tokens, setting.temperature, seed=derive(setting.seed, "measure") >> 1)
    with ticking(screen, asked.k * sum(map(len, held_out.values())), "measuring") as tick:
        workflow = Watched(setting.workflow, tick)
        stage = Stage(workflow, setting.world, policies, subject.seats, how, setting.budgets)
        stage = replace(stage, patience_s=patience_of(setting.workflow))
        report, episodes = measure(held_out, stage, lift(setting.reward), step=subject.step or 0, view=view)
    head = [c for c in report.cells if in_headline(c, source, asked)]
    _check_faults(head, episodes)
    answer = {
        "policy": subject.policy,
        "run": str(subject.run.path) if subject.run else None,
        "step": subject.step,
        "source": source_words(setting.source),
        **_numbers(head),
        "num_faults": sum(c.num_faults for c in report.cells),
        "num_cut": sum(any(t.truncation for t in e.traces) for e in episodes),
        "levels": [{"family": c.family, "level": c.level, **_numbers([c])} for c in report.cells],
        "k": asked.k,
        "temperature": setting.temperature,
        "seed": setting.seed,
        "split": asked.split,
        "seconds": time.monotonic() - start,
    }
    _show(screen, answer, report, episodes, source)
    return answer


# ---------------------------------------------------------------- numbers


def _numbers(cells: Sequence[Cell]) -> dict[str, Any]:
    whole = join(cells)
    accuracy = _accuracy(whole)
    return {
        "accuracy": clean(accuracy.value),
        "low": clean(accuracy.low),
        "high": clean(accuracy.high),
        "pass_at_k": clean(metrics.mean(whole.best).value),
        "tool_use": clean(metrics.mean(whole.used_tool).value),
        "accuracy_given_tool": as_numbers(metrics.ratio(whole.right_with_tool, whole.used_tool)),
        "num_tokens": clean(metrics.mean(whole.num_tokens).value),
        "num_tasks": len(whole.scores),
    }


def _accuracy(cell: Cell) -> Estimate:
    """Tasks that are right or wrong are counted, so that the interval is honest at 0 and 1 too; others are averaged."""
    if all(s in (0.0, 1.0) for s in cell.scores):
        return metrics.wilson(int(sum(cell.scores)), len(cell.scores))
    return metrics.mean(cell.scores)


def _knock(endpoint: Any) -> None:
    """One small question before many: an endpoint that cannot answer says so at once."""
    import asyncio

    asyncio.run(endpoint.sample([Prompt((said("user", "1+1?"),))], Sampling(max_tokens=16)))


def _check_faults(cells: Sequence[Cell], episodes: Sequence[Episode]) -> None:
    if any(c.scores for c in cells):
        return
    faults = [t.fault for e in episodes for t in e.traces if t.fault is not None]
    raise InfrastructureError(
        "every attempt broke, so nothing was measured",
        where=faults[0].where if faults else "",
        got=faults[0].why if faults else f"{len(episodes)} attempts",
    )


# ---------------------------------------------------------------- what a person sees


def _show(screen: Screen, answer: dict[str, Any], report: Report, episodes: Sequence[Episode], source: Source) -> None:
    screen.console.print(_level_table(answer))
    for episode in _wrong(report, episodes):
        wanted = episode.task.private.answer if episode.task.private else "?"
        said_it = one_line(episode.answer) or "(no answer)"
        words = f"{one_line(episode.task.question)}  ->  {said_it}   wanted {one_line(wanted)}"
        screen.console.print(f"wrong   {words}", style="dim", markup=False)
    num_all = sum(row["num_tasks"] for row in answer["levels"])
    of = ", the starting level" if answer["num_tasks"] < num_all else ""
    screen.say(
        f"\n[bold]accuracy {percent(answer['accuracy'])}[/bold], 95 % {percent(answer['low'])} to "
        f"{percent(answer['high'])}, {answer['num_tasks']} tasks{of}, temperature {answer['temperature']:g}, "
        f"{answer['seconds']:.0f} s"
    )
    if answer["num_cut"]:
        screen.say(
            f"{answer['num_cut']} attempts ran out of a budget (budgets.turn_tokens, .context_tokens, .episode_tokens)"
        )
    if answer["num_faults"]:
        why = next((t.fault.why for e in episodes for t in e.traces if t.fault is not None), "")
        screen.console.print(
            f"{answer['num_faults']} attempts broke and are left out: {one_line(why, 240)}", markup=False
        )
    if is_finite(source) and answer["split"] == "test":
        screen.say(
            "only held-out rows were measured; split=all takes every row, for a policy that never trained on them"
        )


def _level_table(answer: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2))
    pass_at = [f"pass@{answer['k']}"] if answer["k"] > 1 else []
    for name in ("family", "level", "tasks", "accuracy", "95 %", *pass_at, "tool use"):
        table.add_column(name, justify="left" if name == "family" else "right")
    for row in answer["levels"]:
        shares = [percent(row["pass_at_k"])] if pass_at else []
        bounds = f"{percent(row['low'])} to {percent(row['high'])}"
        names = (row["family"], str(row["level"]), str(row["num_tasks"]))
        table.add_row(*names, percent(row["accuracy"]), bounds, *shares, percent(row["tool_use"]))
    return table


def _wrong(report: Report, episodes: Sequence[Episode]) -> list[Episode]:
    ids = {i for w in report.weaknesses for i in w.episode_ids}
    by_task = {e.task.task_id: e for e in episodes if e.episode_id in ids and value_of(e) == 0}
    return list(by_task.values())[:NUM_EXAMPLES]
