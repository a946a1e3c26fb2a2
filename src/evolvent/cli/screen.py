"""What a person sees: progress while it runs, tables when it is done; with --json all of it goes to stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evolvent.models.spec import ModelSpec
from evolvent.plans import Improve

LOG_WIDTH = 120  # columns of a log file or a pipe, where no terminal says its own


class Screen:
    """A terminal; on stdout for people, on stderr where stdout belongs to a program."""

    def __init__(self, as_json: bool) -> None:
        from rich.console import Console

        self.console = Console(stderr=as_json, highlight=False)
        if not self.console.is_terminal:
            self.console = Console(stderr=as_json, highlight=False, width=LOG_WIDTH)
        self._bar: Any = None
        self._task: Any = None
        self._heldout = ""
        self._last_line = 0.0
        self._started = time.monotonic()
        self._phase: tuple[str, int, float] = ("", 0, self._started)
        self._num_steps = 0

    def say(self, text: str) -> None:
        """A line."""
        self.console.print(text)

    # ------------------------------------------------------------ before

    def print_arithmetic(self, plan: Improve, derived: Mapping[str, Any], out: str) -> None:
        """The derived numbers as aligned lines."""
        practice, cold = derived["practice"], derived.get("cold_start")
        rows = [
            ("recipe", f"{plan.recipe}, seed {plan.seed}, source {_words(plan.source)}"),
            ("model", f"{_words(plan.model)}, {derived['weights']:,} weights, {plan.dtype}, device {derived['device']}"
                      f", {plan.num_threads} threads, {derived['engine']} engine"),
        ]  # fmt: skip
        if plan.sampler is not None:
            rows.append(("sampler", _words(plan.sampler)))
        if cold:
            rows.append(("cold start", f"{cold['steps']} steps x {cold['rows_per_step']} demonstrations"))
        rows += [
            ("practice", f"{practice['steps']} steps x {practice['tasks_per_step']} tasks x {practice['group_size']} "
                         f"attempts = {practice['rows_per_step']} rows a step"),
            ("tokens", f"at most {plan.budgets.context_tokens} a row, {practice['max_tokens_per_step']:,} a step, "
                       f"in at most {practice['max_micro_batches']} micro-batches of {plan.micro_tokens:,}"),
            ("estimate", f"{derived['estimated_memory_mb']:,} MB, {derived['estimated_minutes']} minutes"),
            ("folder", out),
        ]  # fmt: skip
        for name, words in rows:
            self.console.print(f"[bold]{name:<11}[/bold]{words}")

    # ------------------------------------------------------------ while it runs

    @contextmanager
    def progress(self, plan: Improve) -> Iterator[None]:
        """A bar where there is a terminal, a line every few seconds where there is none."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        self._bar = Progress(
            TextColumn("[bold]{task.description:<11}"), BarColumn(bar_width=24), MofNCompleteColumn(),
            TimeElapsedColumn(), TextColumn("{task.fields[note]}"),
            console=self.console, disable=not self.console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("start", total=plan.num_cold + plan.num_steps, note="")
        with self._bar:
            yield

    def watch(self, event: Mapping[str, Any]) -> None:
        """Called by the loop at each step and each measurement."""
        if "report" in event:
            shown = event["report"].metrics
            metric = next(iter(shown))
            self._heldout = f"held-out {event['report'].name} {shown[metric].value:.2f}"
        elif "measuring" in event:
            self._show("measuring", event["step"], event["measuring"])
        else:
            self._num_steps = event["num_steps"]
            note = f"reward {event['reward_mean']:.2f}  tool {event['tool_use']:.2f}  loss {event.get('loss', 0.0):.3f}"
            self._show(event["phase"], event["step"], f"{note}  {self._heldout}", event.get("events", ""))

    def _show(self, stage: str, step: int, note: str, events: str = "") -> None:
        now = time.monotonic()
        note = f"{self._pace(stage, step, now)}  {note}"
        self._bar.update(self._task, completed=step, description=stage, note=note)
        if events:
            self.console.print(f"  step {step}: {events}")
        if not self.console.is_terminal and now - self._last_line > 5:
            self._last_line = now
            self.console.print(f"{now - self._started:6.0f} s  {stage:<10} step {step:<5} {note}")

    def _pace(self, stage: str, step: int, now: float) -> str:
        """Steps per second since the phase began, and the time that the rest would take at that rate."""
        began, first, start = self._phase
        if stage not in ("measuring", began):
            self._phase = (stage, step, now)
        if stage != began or step == first:
            return "-- steps/s, -- left"
        rate = (step - first) / (now - start)
        left = round((self._num_steps - step) / rate)
        return f"{rate:.1f} steps/s, {left // 60}:{left % 60:02d} left"


def _words(thing: Any) -> str:
    if isinstance(thing, ModelSpec):
        return f"nano (depth {thing.depth})"
    if isinstance(thing, Mapping):
        return ", ".join(f"{name}: {_words(part)}" for name, part in thing.items())
    return thing if isinstance(thing, str) else type(thing).__name__


# ---------------------------------------------------------------- after


def print_summary(screen: Screen, summary: Mapping[str, Any], page: Path) -> None:
    """Before and after, the levels, the verdict, and three commands to go on with."""
    print_numbers(screen, summary)
    run = _short(summary["run"])
    screen.console.print(f"\nreport  {_short(str(page))}\nnext    evolvent show {run}\n"
                         f"        evolvent play {run}\n        {_compare(summary, run)}")  # fmt: skip


def _compare(summary: Mapping[str, Any], run: str) -> str:
    """The command that puts a run beside what it should be compared with."""
    if summary.get("is_control"):
        return f"evolvent run --seed {summary['seed']}"
    if summary.get("control"):
        return f"evolvent show {run} {_short(summary['control'])}"
    return f"evolvent run sft --seed {summary['seed']}"


def print_numbers(screen: Screen, summary: Mapping[str, Any]) -> None:
    """Before and after, the levels, and the verdict."""
    from rich.table import Table

    before, after = summary["before"], summary["after"]
    table = Table(
        title="held-out tasks of the starting level, before and after practice",
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 2),
    )
    for name in ("", "sampled", "greedy", "tool use", "given tool", "forced", "best of k"):
        table.add_column(name, justify="left" if not name else "right")
    for name, side in (("before", before), ("after", after)):
        keys = ("sampled", "greedy", "tool_use", "accuracy_given_tool", "tool_forced", "best_of_k")
        table.add_row(name, *(_percent(side.get(k)) for k in keys))
    screen.console.print()
    screen.console.print(table)
    if summary.get("levels"):
        screen.console.print()
        screen.console.print(_level_table(summary["levels"]))
    if (summary.get("difference") or {}).get("value") is not None:
        d = summary["difference"]
        screen.console.print(f"\ndifference {d['value']:+.3f}, 95 % interval [{d['low']:+.3f}, {d['high']:+.3f}], "
                             f"{d['num']} tasks, {summary['seconds']:.0f} s")  # fmt: skip
        screen.console.print(f"[bold]{summary['verdict']}[/bold]")


def _level_table(levels: list[Mapping[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for name in ("family", "level", "before", "after", "gain, 95 %", "cold start", "reached"):
        table.add_column(name, justify="right" if name in ("level", "before", "after") else "left")
    for row in levels:
        table.add_row(
            row["family"] + (" (start)" if row["start"] else ""), str(row["level"]), _percent(row["before"]),
            _percent(row["after"]), _interval(row["low"], row["high"]),
            "shown" if row["in_cold_start"] else "never", "yes" if row["reached"] else "-",
        )  # fmt: skip
    return table


def _interval(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else rf"\[{low:+.2f}, {high:+.2f}]"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _short(path: str) -> str:
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
