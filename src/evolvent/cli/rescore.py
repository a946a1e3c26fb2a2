"""`evolvent rescore`: stored episodes before another judge; changes are shown and kept, the episodes stay as they are.

The outcome goes to `rescored/<judge>-<n>.json` in the run directory, n being the first number that is free.
"""

from __future__ import annotations

import itertools
import json
import re
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evolvent.cli.main import Command, refuse_fields
from evolvent.cli.screen import Screen
from evolvent.cli.subject import one_word
from evolvent.cli.ticks import ticking
from evolvent.cli.values import read_value
from evolvent.cli.words import one_line
from evolvent.codec import encode
from evolvent.errors import BadInput, StoreError
from evolvent.records import Episode
from evolvent.rewards import Change, Judge, lift, rescore
from evolvent.store import Run, write_text

NUM_SHOWN = 12


def main(command: Command) -> dict[str, Any]:
    """Judge again; the answer says how many scores changed, both means, and the changes."""
    refuse_fields(command, ("reward", "step", "name", "where"))
    run = Run.reopen(Path(one_word(command, "RUN")).expanduser())
    if "reward" not in command.fields:
        raise BadInput(
            "rescore needs a judge",
            where="evolvent rescore",
            got="no reward=",
            wanted="reward=numeric or reward=module:name",
            cure="evolvent rescore RUN reward=my_reward:judge",
        )
    judge = read_judge(command.fields["reward"])
    screen = Screen(as_json=command.json)
    answer = {"run": str(run.path.resolve()), "reward": encode(judge), **judge_again(run, command, judge, screen)}
    path = _keep(run, command.fields["reward"], answer)
    _print(screen, answer, path)
    return {**answer, "changes": answer["changes"][:NUM_SHOWN], "written": str(path)}


def judge_again(run: Run, command: Command, judge: Judge, screen: Screen) -> dict[str, Any]:
    """Both means, and every change, the largest first."""
    olds: list[float] = []
    news: list[float] = []
    changes: list[dict[str, Any]] = []
    num_episodes, files = 0, _files(run, command)
    with ticking(screen, len(files), "judging") as tick:
        for step, name in files:
            episodes = run.episodes(step, name, command.fields.get("where", ""))
            _check_private(run, episodes)
            judged, changed = rescore(judge, episodes)
            num_episodes += len(episodes)
            olds, news = olds + _values(episodes), news + _values(judged)
            by_id = {e.episode_id: e for e in episodes}
            changes += [{"step": step, "name": name, **_told(c, by_id[c.episode_id])} for c in changed]
            tick()
    if not num_episodes:
        asked = " ".join(f"{k}={v}" for k, v in command.fields.items())
        cure = "leave step=, name= and where= out for all; evolvent show RUN says what the run kept"
        raise BadInput("no stored episode fits", where=str(run.path), got=asked, cure=cure)
    return {
        "num_episodes": num_episodes,
        "num_changed": len(changes),
        "old_mean": statistics.fmean(olds) if olds else None,
        "new_mean": statistics.fmean(news) if news else None,
        "num_unjudged": sum(c["new"] is None for c in changes),
        "changes": sorted(changes, key=lambda c: -abs((c["new"] or 0.0) - (c["old"] or 0.0))),
    }


def read_judge(text: str) -> Judge:
    """What stands in a reward slot: a judge, or a check of (task, answer)."""
    found = read_value(text, "reward")
    if not callable(found):
        raise BadInput(
            "this is no judge",
            where="reward",
            got=text,
            wanted="a function of (task, answer), or of (episodes)",
            cure="reward=numeric, or reward=module:name",
        )
    return lift(found)


def _files(run: Run, command: Command) -> list[tuple[int, str]]:
    """The (step, name) of every file of episodes, or of those that were asked for."""
    step = command.fields.get("step")
    if step is not None and not step.isdecimal():
        raise BadInput(
            "not a step", where="step", got=step, wanted="a whole number, as in episodes/step-000100.parquet"
        )
    found = run.episode_files(None if step is None else int(step), command.fields.get("name"))
    named = (re.match(r"step-(\d+)-?(.*)$", path.stem) for path in found)
    return [(int(n[1]), n[2]) for n in named if n]


def _check_private(run: Run, episodes: Sequence[Episode]) -> None:
    if any(e.task.private is None for e in episodes) and not any((run.path / "private").glob("*.parquet")):
        raise StoreError(
            "the answers of the tasks are not there",
            where=str(run.path / "private"),
            got="no file",
            wanted="the private parts, which a run keeps apart from its episodes",
            cure="copy private/ from where the run was made",
        )


def _values(episodes: Sequence[Episode]) -> list[float]:
    return [t.score.value for e in episodes if e.outcome.carries_reward for t in e.traces if t.score is not None]


def _told(change: Change, episode: Episode) -> dict[str, Any]:
    return {**asdict(change), "question": episode.task.question, "answer": episode.answer}


def _keep(run: Run, judge: str, answer: dict[str, Any]) -> Path:
    stem = re.sub(r"[^a-z0-9_]+", "-", judge.partition("(")[0].lower()).strip("-")
    home = run.path / "rescored"
    path = next(p for n in itertools.count(1) if not (p := home / f"{stem}-{n}.json").exists())
    write_text(path, json.dumps(answer, indent=1, allow_nan=False) + "\n")
    return path


def _print(screen: Screen, answer: dict[str, Any], path: Path) -> None:
    from rich.markup import escape
    from rich.table import Table

    screen.say(
        f"{answer['num_episodes']} episodes, {answer['num_changed']} scores changed, "
        f"mean {_number(answer['old_mean'])} -> {_number(answer['new_mean'])}"
    )
    if answer["num_unjudged"]:
        screen.say(f"{answer['num_unjudged']} could not be judged: the judge broke there")
    if answer["changes"]:
        table = Table(box=None, pad_edge=False, padding=(0, 2))
        for name in ("task", "question", "answer", "old", "new", "why"):
            table.add_column(name, justify="right" if name in ("old", "new") else "left", no_wrap=name == "task")
        for c in answer["changes"][:NUM_SHOWN]:
            table.add_row(
                c["task_id"],
                escape(one_line(c["question"], 24)),
                escape(one_line(c["answer"], 16)),
                _number(c["old"]),
                _number(c["new"]),
                escape(one_line(c["why"], 40)),
            )
        screen.console.print(table)
        if len(answer["changes"]) > NUM_SHOWN:
            screen.say(f"... and {len(answer['changes']) - NUM_SHOWN} more")
    screen.say(f"written  {path}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
