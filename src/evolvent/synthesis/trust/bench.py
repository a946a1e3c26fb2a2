"""Plays words that are written beforehand through the real workflow, world and judge, and says how each was judged."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from evolvent.errors import EvolventError
from evolvent.records import Completion, Episode, Finish, Message, Outcome, Prompt, Sampling, Task, Trace, said
from evolvent.rewards import judge_episodes, lift
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import ToolLoop
from evolvent.seeds import derive
from evolvent.synthesis.trust.plan import Proof

RIGHT = 1.0 - 1e-9
MANY_TURNS = 10_000
ENDLESS = Budgets(1 << 30, 1 << 30, 1 << 30)
SEATS: Mapping[str, str] = {"agent": "agent"}


@dataclass(frozen=True, slots=True)
class Script:
    """What an agent will say at a task, message by message."""

    task: Task
    words: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Played:
    """A script's episode, its value (None where it was not judged), what broke, and how long the judge took."""

    script: Script
    episode: Episode | None
    value: float | None
    components: Mapping[str, float]
    fault: str
    seconds: float
    is_late: bool = False

    @property
    def is_right(self) -> bool:
        """Whether it was judged as fully right."""
        return self.value is not None and self.value >= RIGHT

    @property
    def why(self) -> str:
        """What the judge said, or what broke."""
        score = next((t.score for t in self.episode.traces if t.score), None) if self.episode else None
        return self.fault or (score.why if score else "")


def answering(task: Task, answer: str, acts: Sequence[Message] = ()) -> Script:
    """A script that does `acts` and then says an answer."""
    return Script(task, (*acts, said("assistant", answer)))


class LateError(BaseException):
    """The judge took too long; no handler of ordinary errors swallows it."""


class Bench:
    """Where scripts are played: one world, one workflow, one judge."""

    def __init__(self, proof: Proof) -> None:
        self.proof = proof
        self.workflow = proof.workflow or ToolLoop(MANY_TURNS)
        self.judge = lift(proof.judge)
        self.truth = None if proof.truth is None else lift(proof.truth)

    def play(self, scripts: Sequence[Script]) -> list[Played]:
        """Every script played and judged, in order."""
        return [self._judged(s, e, fault) for s, (e, fault) in zip(scripts, self._episodes(scripts), strict=True)]

    def true_value(self, played: Played) -> float | None:
        """What the truth says of an episode, where there is one beside the judge."""
        if self.truth is None or played.episode is None:
            return None
        return _value(judge_episodes(self.truth, [_unscored(played.episode)])[0])

    def traces(self, scripts: Sequence[Script]) -> list[Episode | None]:
        """The episodes alone, not judged."""
        return [episode for episode, _ in self._episodes(scripts)]

    def _episodes(self, scripts: Sequence[Script]) -> list[tuple[Episode | None, str]]:
        """All at once; where that breaks, one by one, to learn which of them does."""
        try:
            return [(episode, "") for episode in self._play(scripts)]
        except Exception as error:
            if len(scripts) == 1:
                return [(None, _words(error))]
            return [pair for script in scripts for pair in self._episodes([script])]

    def _play(self, scripts: Sequence[Script]) -> list[Episode]:
        actor = Actor(scripts)
        attempts = [Attempt(script.task, place) for place, script in enumerate(scripts)]
        how = Sampling(1 << 30, seed=derive(self.proof.seed, "proof") >> 1)
        return play(attempts, Stage(self.workflow, self.proof.world, {"agent": actor}, SEATS, how, ENDLESS))

    def _judged(self, script: Script, episode: Episode | None, fault: str) -> Played:
        if episode is None:
            return Played(script, None, None, {}, fault, 0.0)
        start = time.perf_counter()
        try:
            with at_most(self.proof.max_judge_s):
                episode = judge_episodes(self.judge, [episode])[0]
        except LateError:
            words = f"the judge took longer than {self.proof.max_judge_s:g} s"
            return Played(script, episode, None, {}, words, time.perf_counter() - start, is_late=True)
        except (Exception, SystemExit) as error:  # what a judge of a user's raises is the finding
            return Played(script, episode, None, {}, _words(error), time.perf_counter() - start)
        seconds = time.perf_counter() - start
        score = next((t.score for t in episode.traces if t.score), None)
        broke = next((f"{t.fault.kind}: {t.fault.why}" for t in episode.traces if t.fault), "")
        parts = score.components if score else {}
        return Played(script, episode, _value(episode), parts, broke, seconds, seconds > self.proof.max_judge_s)


class Actor:
    """A policy that says what the script of the attempt says, and its last words again where it is asked for more."""

    name = "script"

    def __init__(self, scripts: Sequence[Script]) -> None:
        self._scripts = {(s.task.task_id, place): s for place, s in enumerate(scripts)}

    async def sample(self, prompts: Sequence[Prompt], how: Sampling) -> list[Completion]:
        """One completion per prompt, in order."""
        return [self._next(prompt) for prompt in prompts]

    def _next(self, prompt: Prompt) -> Completion:
        task_id, sample, *_ = prompt.stream
        script = self._scripts[str(task_id), int(sample)]
        given = sum(m.role == "assistant" for m in prompt.messages)
        given -= sum(m.role == "assistant" for m in script.task.prompt)
        message = script.words[given] if given < len(script.words) else said("assistant", script.words[-1].text)
        finish = Finish.CALL if message.calls else Finish.STOP
        name = "/".join(map(str, prompt.stream))
        return Completion((), message.text, (), (), 0, finish, f"script-{name}", message)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise LateError inside the block once `seconds` have passed, where the system has alarms."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: Any) -> None:
        raise LateError

    handler = signal.signal(signal.SIGALRM, ring)
    left, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    start = time.monotonic()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:  # an alarm of whoever called goes on where it was
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - start), 0.001))


def _value(episode: Episode) -> float | None:
    values = [trace.score.value for trace in episode.traces if trace.score is not None]
    return values[0] if values and episode.outcome.carries_reward else None


def _unscored(episode: Episode) -> Episode:
    traces = tuple(_clean(trace) for trace in episode.traces)
    return replace(episode, traces=traces)


def _clean(trace: Trace) -> Trace:
    broke = trace.outcome is Outcome.VERIFIER_FAILED
    return replace(
        trace, score=None, outcome=Outcome.OK if broke else trace.outcome, fault=None if broke else trace.fault
    )


def _words(error: BaseException) -> str:
    what = error.what if isinstance(error, EvolventError) else str(error)
    return f"{type(error).__name__}: {what}"
