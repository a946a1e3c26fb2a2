"""`evolvent eval`: a policy on held-out tasks, by level, with intervals."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolvent.cli.main import Command
from evolvent.cli.screen import Screen
from evolvent.cli.subject import Setting, Subject, build_policies, find_subject, one_word, settle
from evolvent.cli.ticks import Watched, ticking
from evolvent.cli.words import one_line, percent
from evolvent.errors import BadInput, InfrastructureError
from evolvent.evals import metrics
from evolvent.evals.compare import as_numbers, clean
from evolvent.evals.measure import HeldOut, Suite, View, hold_out, join, measure, value_of
from evolvent.records import Cell, Episode, Estimate, Prompt, Report, Sampling, Task, encode, said
from evolvent.rewards import lift
from evolvent.rollouts.play import Stage
from evolvent.seeds import derive
from evolvent.tasks.source import Source

MANY = 1_000_000  # more levels than any source has
NUM_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """What `eval` takes beside the setting: tasks of each level, attempts at each, which levels, which rows of a file."""

    num_tasks: int | None = None
    k: int = 1
    level: str | None = None
    split: str = "test"


def main(command: Command) -> dict[str, Any]:
    """Measure; the answer is the headline and a row for each level."""
    screen, start = Screen(as_json=command.json), time.monotonic()
    subject = find_subject(one_word(command, "POLICY"))
    asked = read_asked(command.fields)
    setting = settle(subject, command, own=("num_tasks", "k", "level", "split"))
    source, held_out = choose_tasks(subject, setting, asked)
    policies = build_policies(subject, setting)
    if subject.is_endpoint:
        _knock(policies["agent"])
    view = View("eval", "accuracy", setting.temperature, asked.k)
    how = Sampling(setting.budgets.turn_tokens, setting.temperature, seed=derive(setting.seed, "measure") >> 1)
    with ticking(screen, asked.k * sum(map(len, held_out.values())), "measuring") as tick:
        workflow = Watched(setting.workflow, tick)
        stage = Stage(workflow, setting.world, policies, subject.seats, how, setting.budgets)
        report, episodes = measure(held_out, stage, lift(setting.reward), step=subject.step or 0, view=view)
    head = [c for c in report.cells if _in_headline(c, source, asked)]
    _check_faults(head, episodes)
    answer = {
        "policy": subject.policy,
        "run": str(subject.run.path) if subject.run else None,
        "step": subject.step,
        "source": _source_words(setting.source),
        **_numbers(head),
        "num_faults": sum(c.num_faults for c in report.cells),
        "levels": [{"family": c.family, "level": c.level, **_numbers([c])} for c in report.cells],
        "k": asked.k,
        "temperature": setting.temperature,
        "seed": setting.seed,
        "split": asked.split,
        "seconds": time.monotonic() - start,
    }
    _show(screen, answer, report, episodes, source)
    return answer


def read_asked(fields: dict[str, str]) -> Asked:
    """The verb's own keys, checked."""
    numbers = {}
    for key in ("num_tasks", "k"):
        if key in fields:
            if not fields[key].isdecimal() or int(fields[key]) < 1:
                raise BadInput("not a number of tries", where=key, got=fields[key], wanted="a whole number from 1 on")
            numbers[key] = int(fields[key])
    split = fields.get("split", "test")
    if split not in ("test", "all"):
        raise BadInput("unknown split", where="split", got=split, wanted="test, or all for every row of a file",
                       cure="training rows show what was learned by heart, so they are measured with split=all only")  # fmt: skip
    return Asked(**numbers, level=fields.get("level"), split=split)


# ---------------------------------------------------------------- which tasks


@dataclass(frozen=True)
class Chosen:
    """A source cut down to some levels (None: all), or, for a file, with its two splits put together as one."""

    source: Source
    only: tuple[int, ...] | None
    together: bool

    @property
    def families(self) -> tuple[str, ...]:
        """The families that have one of the levels."""
        return tuple(f for f in self.source.families if self.levels(f))

    def levels(self, family: str) -> tuple[int, ...]:
        """The levels that were asked for."""
        return tuple(n for n in self.source.levels(family) if self.only is None or n in self.only)

    def num_tasks(self, family: str, level: int, split: str) -> int | None:
        """How many tasks a cell holds."""
        held = self.source.num_tasks(family, level, split)
        if not self.together or held is None:
            return held
        return held + (self.source.num_tasks(family, level, "train") or 0)

    def task(self, family: str, level: int, index: int, split: str = "test") -> Task:
        """Task `index`; training rows come behind the held-out ones."""
        held = self.source.num_tasks(family, level, split)
        if self.together and held is not None and index >= held:
            return self.source.task(family, level, index - held, "train")
        return self.source.task(family, level, index, split)


def choose_tasks(subject: Subject, setting: Setting, asked: Asked) -> tuple[Source, HeldOut]:
    """The tasks of each (family, level): those of the run's own suite, unless the command says otherwise."""
    from evolvent import tasks

    source = tasks.source(setting.source, setting.seed) if isinstance(setting.source, str) else setting.source
    if asked.split == "all" and not _is_finite(source):
        raise BadInput("split=all has no effect on tasks that are made", where="split", got=_source_words(setting.source),
                       wanted="a file", cure="leave it out: held-out tasks never run dry")  # fmt: skip
    only = _levels(source, asked.level)
    if asked.level is None and subject.suite is None and not _is_finite(source):
        only = tuple({source.levels(f)[0] for f in source.families})
    num = asked.num_tasks or 256
    suite = subject.suite if subject.suite and not asked.num_tasks else Suite(num, num, num_levels=MANY)
    held_out = hold_out(suite, Chosen(source, only, asked.split == "all"))
    if not any(held_out.values()):
        raise BadInput("no task is held out", where=f"source={_source_words(setting.source)}", got="0 tasks in the test split",
                       cure="split=all measures every row, for a policy that was not trained on this file")  # fmt: skip
    return source, {cell: found for cell, found in held_out.items() if found}


def _levels(source: Source, words: str | None) -> tuple[int, ...] | None:
    if words in (None, "all"):
        return None
    offered = sorted({n for f in source.families for n in source.levels(f)})
    parts = str(words).strip("[]").split(",")
    if not all(p.strip().isdecimal() and int(p) in offered for p in parts):
        raise BadInput("no such level", where="level", got=words, wanted=", ".join(map(str, offered)),
                       cure="one level, several with commas, or all")  # fmt: skip
    return tuple(int(p) for p in parts)


def _is_finite(source: Source) -> bool:
    """Whether all tasks are rows of files."""
    return all(source.num_tasks(f, source.levels(f)[0], "test") is not None for f in source.families)


def _in_headline(cell: Cell, source: Source, asked: Asked) -> bool:
    """Rows of a file count all; of levels that are climbed the first one does, unless levels were asked for."""
    return asked.level is not None or _is_finite(source) or cell.level == source.levels(cell.family)[0]


def _source_words(source: Source | str) -> Any:
    if isinstance(source, str):
        return str(Path(source).resolve()) if Path(source).is_file() else source
    return encode(source)


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
    raise InfrastructureError("every attempt broke, so nothing was measured", where=faults[0].where if faults else "",
                              got=faults[0].why if faults else f"{len(episodes)} attempts")  # fmt: skip


# ---------------------------------------------------------------- what a person sees


def _show(screen: Screen, answer: dict[str, Any], report: Report, episodes: Sequence[Episode], source: Source) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2))
    columns = ("family", "level", "tasks", "accuracy", "95 %", *(["pass@" + str(answer["k"])] if answer["k"] > 1 else []), "tool use")
    for name in columns:
        table.add_column(name, justify="left" if name == "family" else "right")
    for row in answer["levels"]:
        more = [percent(row["pass_at_k"])] if answer["k"] > 1 else []
        table.add_row(row["family"], str(row["level"]), str(row["num_tasks"]), percent(row["accuracy"]),
                      f"{percent(row['low'])} to {percent(row['high'])}", *more, percent(row["tool_use"]))  # fmt: skip
    screen.console.print(table)
    for episode in _wrong(report, episodes):
        private = episode.task.private
        screen.console.print(f"wrong   {escape(one_line(episode.task.question))}  ->  {escape(one_line(episode.answer) or '(no answer)')}"
                             f"   wanted {escape(one_line(private.answer if private else '?'))}", style="dim")  # fmt: skip
    of = "" if len(answer["levels"]) == 1 else ", the starting level" if not _is_finite(source) else ", all rows"
    screen.say(f"\n[bold]accuracy {percent(answer['accuracy'])}[/bold], 95 % {percent(answer['low'])} to {percent(answer['high'])}, "
               f"{answer['num_tasks']} tasks{of if answer['num_tasks'] < sum(r['num_tasks'] for r in answer['levels']) else ''}, "
               f"temperature {answer['temperature']:g}, {answer['seconds']:.0f} s")  # fmt: skip
    if answer["num_faults"]:
        screen.say(f"{answer['num_faults']} attempts broke and are left out")
    if _is_finite(source) and answer["split"] == "test":
        screen.say("only held-out rows were measured; split=all takes every row, for a policy that never trained on this file")


def _wrong(report: Report, episodes: Sequence[Episode]) -> list[Episode]:
    ids = {i for w in report.weaknesses for i in w.episode_ids}
    by_task = {e.task.task_id: e for e in episodes if e.episode_id in ids and value_of(e) == 0}
    return list(by_task.values())[:NUM_EXAMPLES]
