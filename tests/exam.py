"""What the exam of recipes is made of: their plans at the smallest size, and stops in the middle of a write."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evolvent import Run, improve
from evolvent.codec import to_json
from evolvent.effects.arms import build_policies
from evolvent.models import ModelSpec
from evolvent.plans import Improve
from evolvent.records import Score, role_of
from evolvent.rewards import by_task

WRITES = {"open", "os.rename", "os.mkdir", "os.remove", "os.truncate"}
# their rewards compare finished answers, or judge each of several, and a new model finishes none
BY_ANSWER = ("adactrl", "marti_chain", "marti_debate", "mars2", "marti_mixture", "ssrl", "ttrl")
BY_ROLE = ("vhg",)  # whose judges score roles apart, and hardly ever above 0 where a model knows nothing
FOR_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND


class StoppedHereError(Exception):
    """Stands for a kill."""


def recipe(name: str) -> Any:
    return importlib.import_module(f"evolvent.recipes.{name}")


def parity(episodes):
    """A score that differs between attempts of a model which knows nothing: whether the ids it wrote add up to odd."""
    written = [
        sum(t * m for trace in e.traces for t, m in zip(trace.tokens, trace.mask, strict=True)) for e in episodes
    ]
    return [Score(float(total % 2), why="parity") for total in written]


@dataclass(frozen=True)
class Jittered:
    """A judge that remembers, with the parity of what each trace wrote added to what it earned."""

    judge: Any

    def __call__(self, episodes):
        return self.begin()(episodes)

    def begin(self):
        return LiveJittered(self.judge.begin())


class LiveJittered:
    def __init__(self, judge):
        self.judge, self.state, self.restore = judge, judge.state, judge.restore

    def __call__(self, episodes):
        return [self.jitter(e, given) for e, given in zip(episodes, self.judge(episodes), strict=True)]

    def jitter(self, episode, given):
        jittered = {}
        for trace in episode.traces:
            score = given.get(trace.seat, given.get(role_of(trace.seat)))
            if score is not None:
                odd = sum(t * m for t, m in zip(trace.tokens, trace.mask, strict=True)) % 2
                jittered[trace.seat] = replace(score, value=score.value + odd)
        return jittered


def small(name: str) -> Improve:
    """The recipe's plan with two steps of each phase on few tasks, and a model of one layer.

    Where answers are judged, `parity` does in their place: a model that knows nothing is never right, and an update
    without differences would be no update.
    """
    plan = recipe(name).build()
    cold = plan.cold_start and replace(plan.cold_start, num_steps=2, tasks_per_step=2)
    budgets = plan.budgets
    by_answer = plan.reward is by_task or name in BY_ANSWER
    return replace(
        plan,
        model=_smallest(plan.model),
        reward=parity if by_answer else Jittered(plan.reward) if name in BY_ROLE else plan.reward,
        truth=by_task if by_answer and plan.truth is None else plan.truth,
        advantage=_at_once(plan.advantage),
        cold_start=cold,
        num_steps=2,
        tasks_per_step=2,
        group_size=min(plan.group_size, 4),
        budgets=replace(
            budgets, turn_tokens=min(budgets.turn_tokens, 12), episode_tokens=min(budgets.episode_tokens, 48)
        ),
        checkpoint_every=1,
        keep_checkpoints=9,
        num_threads=1,
        sinks=(),
        arena=plan.arena and replace(plan.arena, round_steps=1, num_worlds=2, tasks_per_world=1),
        suite=replace(plan.suite, num_tasks=4, num_tasks_above=2, num_tasks_during=2, num_levels=2, best_of=2),
    )


def _smallest(model: Any) -> Any:
    if isinstance(model, Mapping):
        return {name: _smallest(one) for name, one in model.items()}
    return replace(model, depth=1) if isinstance(model, ModelSpec) else model


def _at_once(advantage: Any) -> Any:
    """A critic that is fitted alone for one batch at most, so that the second one moves the policy."""
    return replace(advantage, pretrain_batches=1) if getattr(advantage, "pretrain_batches", 0) else advantage


def carry_out(
    plan: Improve, folder: Path, stop_at: int | None = None, stop: Callable[[], None] | None = None
) -> tuple[Run, int]:
    """A run from its beginning, or from where its folder stands, and how often it was about to change a file.

    `stop` is called in place of change number `stop_at`; it raises StoppedHereError unless told otherwise.
    """
    is_begun = (folder / "run.json").exists()
    run = Run.reopen(folder) if is_begun else Run.create(to_json(plan), plan.recipe, plan.seed, folder)
    policies = build_policies(plan)
    with _Writes(folder, stop_at, stop or _stop) as writes:
        try:
            improve(plan, policies, run)
        except StoppedHereError:
            assert stop_at is not None
    return run, writes.num


def content(run: Run) -> dict[str, bytes]:
    """Everything that a run promises to write in the same bytes."""
    kept = [p.relative_to(run.path) for folder in ("reports", "diagnoses") for p in run.path.glob(f"{folder}/*.json")]
    names = ["metrics.jsonl", *sorted(kept)]
    weights = sorted(run.path.glob("checkpoints/*/*/*.safetensors"))
    memories = sorted(run.path.glob("checkpoints/*/state/memory.json"))
    return {
        str(n): (run.path / n).read_bytes() for n in [*names, *(w.relative_to(run.path) for w in weights + memories)]
    }


def _stop() -> None:
    raise StoppedHereError


class _Writes:
    """Counts what the interpreter is about to change below a folder, and stops it at one of these places."""

    current: _Writes | None = None
    is_listening = False

    def __init__(self, folder: Path, stop_at: int | None, stop: Callable[[], None]) -> None:
        self.folder, self.stop_at, self.stop, self.num = str(folder), stop_at, stop, 0

    def __enter__(self) -> _Writes:
        _Writes.current = self
        if not _Writes.is_listening:  # an audit hook stays for good
            _Writes.is_listening = True
            sys.addaudithook(_Writes.hear)
        return self

    def __exit__(self, *_: object) -> None:
        _Writes.current = None

    @staticmethod
    def hear(event: str, about: tuple[Any, ...]) -> None:
        self = _Writes.current
        if self is None or event not in WRITES or threading.current_thread() is not threading.main_thread():
            return
        path = about[1] if event == "os.rename" else about[0]
        if not str(path).startswith(self.folder) or (event == "open" and not about[2] & FOR_WRITING):
            return
        self.num += 1
        if self.num == self.stop_at:
            _Writes.current = None
            self.stop()


def kill() -> None:
    """No clean-up, no goodbye."""
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":  # NAME FOLDER WRITE: a run that is killed at a write
    import exam  # so that the plan names parts of the module, and not of __main__

    exam.carry_out(exam.small(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), exam.kill)
