"""`evolvent collect`: an agent's episodes as data: played, judged, kept by score, written in the forms of others."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evolvent.cli.fit import offered_tools
from evolvent.cli.main import Command
from evolvent.cli.outside import patience_of, take_agent
from evolvent.cli.screen import Screen
from evolvent.cli.subject import Setting, Subject, build_policies, find_subject, settle
from evolvent.cli.ticks import Watched, ticking
from evolvent.cli.words import one_line, percent
from evolvent.errors import BadInput, InfrastructureError, nearest
from evolvent.records import Episode, Sampling, Task, Tool
from evolvent.rewards import judge_episodes, lift
from evolvent.rollouts.exports import as_messages, as_verifiers, prompt_completions
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.seeds import derive
from evolvent.store import write_episodes, write_text
from evolvent.store.atif import write_trajectory
from evolvent.tasks.source import Source

KEEP = ("all", "correct", "best", "shortest")
FORMS = ("trl", "verifiers", "atif")
OWN = ("out", "model", "num_tasks", "k", "level", "split", "keep", "forms")
BOUNDS = ("min_score", "max_score", "min_mean", "max_mean")
NUM_TASKS = 64


@dataclass(frozen=True)
class Wanted:
    """What is to be played, what is kept of it, and where it goes."""

    out: Path
    num_tasks: int = NUM_TASKS
    k: int = 1
    level: str | None = None
    split: str = "train"
    keep: str = "all"
    forms: tuple[str, ...] = FORMS
    min_score: float = float("-inf")
    max_score: float = float("inf")
    min_mean: float = float("-inf")
    max_mean: float = float("inf")


def main(command: Command) -> dict[str, Any]:
    """Play, keep, write; the answer counts what was played and kept, and names the files."""
    screen, wanted = Screen(as_json=command.json), read_wanted(command)
    subject, agent = find_subject(_policy(command)), take_agent(command.fields)
    setting = settle(subject, command, own=(*OWN, *BOUNDS))
    setting = setting if agent is None else replace(setting, workflow=agent)
    episodes = _play(subject, setting, wanted, screen)
    kept = choose(episodes, wanted)
    files = _write(wanted, kept, setting)
    answer = {
        "out": str(wanted.out.resolve()),
        "policy": subject.policy,
        "num_tasks": len({e.task.task_id for e in episodes}),
        "num_attempts": len(episodes),
        "num_faults": sum(not e.outcome.carries_reward for e in episodes),
        "mean_score": statistics.fmean(map(score_of, judged)) if (judged := _judged(episodes)) else None,
        "num_kept": len(kept),
        "mean_score_kept": statistics.fmean(map(score_of, kept)) if kept else None,
        "keep": wanted.keep,
        "files": files,
    }
    write_text(wanted.out / "summary.json", json.dumps(answer, indent=1) + "\n")
    _show(screen, answer, episodes)
    return answer


def choose(episodes: Sequence[Episode], wanted: Wanted) -> list[Episode]:
    """The episodes to keep, in the order played: within the bounds, then what `keep` says of each task.

    `correct` are those that score 1 or more, `shortest` is the shortest of these, `best` has the highest score (of
    several the shortest). Attempts that broke are never kept.
    """
    by_task: dict[str, list[Episode]] = {}
    for episode in _judged(episodes):
        by_task.setdefault(episode.task.task_id, []).append(episode)
    kept: list[Episode] = []
    for attempts in by_task.values():
        mean = statistics.fmean(map(score_of, attempts))
        if wanted.min_mean <= mean <= wanted.max_mean:
            within = [e for e in attempts if wanted.min_score <= score_of(e) <= wanted.max_score]
            kept += _keep(within, wanted.keep)
    return kept


def _keep(attempts: list[Episode], keep: str) -> list[Episode]:
    correct = [e for e in attempts if score_of(e) >= 1]
    if keep == "best":
        return sorted(attempts, key=lambda e: (-score_of(e), num_tokens(e), e.sample))[:1]
    if keep == "shortest":
        return sorted(correct, key=lambda e: (num_tokens(e), e.sample))[:1]
    return correct if keep == "correct" else attempts


def score_of(episode: Episode) -> float:
    """The mean score of its traces."""
    return statistics.fmean(t.score.value for t in episode.traces if t.score is not None)


def num_tokens(episode: Episode) -> int:
    """How much its policies wrote: tokens, or characters where an endpoint gives none."""
    written = sum(sum(t.mask) for t in episode.traces)
    said = (turn.message.text for t in episode.traces for turn in t.turns if turn.message.role == "assistant")
    return written or sum(map(len, said))


def _judged(episodes: Iterable[Episode]) -> list[Episode]:
    return [e for e in episodes if e.outcome.carries_reward and any(t.score is not None for t in e.traces)]


# ---------------------------------------------------------------- what is asked


def read_wanted(command: Command) -> Wanted:
    """The verb's own keys, checked."""
    fields = command.fields
    if "out" not in fields:
        raise BadInput("where to?", where="out", got="no out=", cure="out=FOLDER, a new one")
    out = Path(fields["out"]).expanduser()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput("there is something already", where=f"out={out}", wanted="a new or an empty folder")
    forms = tuple(filter(None, fields.get("forms", ",".join(FORMS)).split(",")))
    for key, given, known in (
        ("keep", (fields.get("keep", "all"),), KEEP),
        ("forms", forms, FORMS),
        ("split", (fields.get("split", "train"),), ("train", "test")),
    ):
        odd = [word for word in given if word not in known]
        if odd:
            raise BadInput(f"unknown {key}", where=key, got=odd[0], cure=nearest(odd[0], list(known)))
    numbers = {key: _number(fields, key) for key in BOUNDS if key in fields}
    counts = {key: _count(fields, key) for key in ("num_tasks", "k") if key in fields}
    chosen = {key: fields[key] for key in ("level", "split", "keep") if key in fields}
    return Wanted(out, forms=forms, **chosen, **numbers, **counts)  # type: ignore[arg-type]


def _policy(command: Command) -> str:
    words = [*command.words, *([command.fields["model"]] if "model" in command.fields else [])]
    if len(words) != 1:
        raise BadInput(
            "collect takes one POLICY",
            where="evolvent collect",
            got=" ".join(words) or "nothing",
            cure="evolvent collect --help",
        )
    return words[0]


def _number(fields: dict[str, str], key: str) -> float:
    try:
        return float(fields[key])
    except ValueError:
        raise BadInput("not a number", where=key, got=fields[key], wanted="such as 0.5") from None


def _count(fields: dict[str, str], key: str) -> int:
    if not fields[key].isdecimal() or int(fields[key]) < 1:
        raise BadInput("not a number of tries", where=key, got=fields[key], wanted="a whole number from 1 on")
    return int(fields[key])


# ---------------------------------------------------------------- playing and writing


def _play(subject: Subject, setting: Setting, wanted: Wanted, screen: Screen) -> list[Episode]:
    found = _tasks(setting, wanted)
    policies = build_policies(subject, setting)
    how = Sampling(setting.budgets.turn_tokens, setting.temperature, seed=derive(setting.seed, "collect") >> 1)
    attempts = [Attempt(task, sample) for task in found for sample in range(wanted.k)]
    with ticking(screen, len(attempts), "collecting") as tick:
        workflow, patience_s = Watched(setting.workflow, tick), patience_of(setting.workflow)
        stage = Stage(workflow, setting.world, policies, subject.seats, how, setting.budgets, patience_s=patience_s)
        episodes = judge_episodes(lift(setting.reward), play(attempts, stage))
    if not _judged(episodes):
        why = next((t.fault.why for e in episodes for t in e.traces if t.fault is not None), "")
        raise InfrastructureError(
            "every attempt broke, so there is nothing to keep", got=why or f"{len(attempts)} attempts"
        )
    return episodes


def _tasks(setting: Setting, wanted: Wanted) -> list[Task]:
    """The first tasks of each level that was asked for, by default the first; no problem twice."""
    from evolvent import tasks

    source: Source = tasks.source(setting.source, setting.seed) if isinstance(setting.source, str) else setting.source
    levels = {n for f in source.families for n in source.levels(f)}
    only = _levels(wanted.level, levels) if wanted.level else {source.levels(f)[0] for f in source.families}
    seen: dict[str, Task] = {}
    for family in source.families:
        for level in source.levels(family):
            if level in only:
                held = source.num_tasks(family, level, wanted.split)
                for index in range(wanted.num_tasks if held is None else min(held, wanted.num_tasks)):
                    task = source.task(family, level, index, wanted.split)
                    seen.setdefault(task.problem, task)
    if not seen:
        raise BadInput(f"the source has no task in the split {wanted.split}", where="split", cure="split=test or train")
    return list(seen.values())


def _levels(words: str, offered: set[int]) -> set[int]:
    parts = [p.strip() for p in words.split(",")]
    if words != "all" and not all(p.isdecimal() and int(p) in offered for p in parts):
        wanted = ", ".join(map(str, sorted(offered)))
        raise BadInput("no such level", where="level", got=words, wanted=wanted, cure="several with commas, or all")
    return offered if words == "all" else {int(p) for p in parts}


def _write(wanted: Wanted, kept: Sequence[Episode], setting: Setting) -> dict[str, int]:
    """The files, by name, with the number of rows in each."""
    out, rows = wanted.out, {}
    out.mkdir(parents=True, exist_ok=True)
    offered = [_offered(episode, setting) for episode in kept]
    write_episodes(out / "episodes.parquet", kept, run=out.name, step=0, private=out / "private.parquet")
    rows["episodes.parquet"] = len(kept)
    pairs = list(zip(kept, offered, strict=True))
    if "trl" in wanted.forms:
        rows |= _lines(out / "trl_messages.jsonl", [r for e, tools in pairs for r in as_messages(e, tools)])
        whole = [r for e, tools in pairs for r in prompt_completions(e, tools)]
        rows |= _lines(out / "trl_prompt_completion.jsonl", whole)
    if "verifiers" in wanted.forms:
        numbers = {task_id: i for i, task_id in enumerate(dict.fromkeys(e.task.task_id for e in kept))}
        rows |= _lines(out / "verifiers.jsonl", [as_verifiers(e, numbers[e.task.task_id], t) for e, t in pairs])
    if "atif" in wanted.forms:
        for episode, tools in pairs:
            name = re.sub(r"[^\w.-]+", "_", episode.episode_id)
            write_trajectory(out / "atif" / f"{name}.json", episode, tools)
        rows["atif/"] = len(kept)
    return rows


def _offered(episode: Episode, setting: Setting) -> tuple[Tool, ...]:
    """The tools that the agent offered, else those of its world."""
    if "calls" in episode.info:
        return tuple(Tool(**dict(tool)) for tool in episode.info.get("tools", ()))
    return offered_tools(setting.world, episode.task, episode.traces[0].seat)


def _lines(path: Path, rows: list[dict[str, Any]]) -> dict[str, int]:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))
    return {path.name: len(rows)}


def _show(screen: Screen, answer: dict[str, Any], episodes: Sequence[Episode]) -> None:
    mean = percent(answer["mean_score"])
    screen.say(f"played   {answer['num_attempts']} attempts at {answer['num_tasks']} tasks, mean score {mean}")
    if answer["num_faults"]:
        why = next((t.fault.why for e in episodes for t in e.traces if t.fault is not None), "")
        screen.console.print(f"broke    {answer['num_faults']}: {one_line(why, 200)}", markup=False)
    screen.say(f"kept     {answer['num_kept']} ({answer['keep']}), mean score {percent(answer['mean_score_kept'])}")
    for name, num in answer["files"].items():
        screen.console.print(f"written  {num:>6}  {Path(answer['out']) / name}", markup=False, soft_wrap=True)
