"""Collects what many clients ask at once, and asks the policy one batch at a time in a thread of its own."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

from evolvent.errors import BadInput
from evolvent.policies.policy import Policy, Step, Streams
from evolvent.records import Completion, Prompt, Sampling
from evolvent.serve.meters import Meters
from evolvent.serve.refusals import Busy

MAX_BATCH = 64
"""Prompts in one call of the policy; more wait, so that memory stays bounded."""

Top = tuple[tuple[int, float], ...]
"""The likeliest tokens of one place with their log-probabilities."""

_Made = TypeVar("_Made")


class Heard(NamedTuple):
    """One token of one completion as it was decoded; `place` is its prompt's among those asked together."""

    place: int
    token: int
    sampled: float
    model: float
    top: Top
    version: int


Hear = Callable[[Sequence[Heard]], None]
"""Called in the event loop with what one step brought, one token a row."""


@runtime_checkable
class Forgets(Protocol):
    """A policy that keeps context between calls, which no client of ours refers to."""

    def forget(self) -> None:
        """Drop it."""
        ...


@dataclass(slots=True, eq=False)
class _Waiting:
    prompts: tuple[Prompt, ...]
    how: Sampling
    reply: asyncio.Future[list[Completion]]
    hear: Hear | None
    num_top: int
    since_s: float = field(default_factory=time.perf_counter)
    was_heard: bool = False


class Queue:
    """Requests that arrive while the policy speaks are answered together in its next call.

    At most `max_waiting` prompts wait; whoever comes then is told to come back. A caller that is cancelled leaves: its
    prompts are not sampled any further where the policy can be interrupted.
    """

    def __init__(self, policy: Policy, meters: Meters, max_waiting: int = 256) -> None:
        self.policy, self.meters, self.max_waiting = policy, meters, max_waiting
        self._waiting: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None
        self._batch_s = 1.0  # how long a batch takes, for those who are sent away
        # one thread: a policy is never asked twice at the same time, and the event loop goes on answering
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="policy")

    @property
    def num_waiting(self) -> int:
        """Prompts that wait for their turn."""
        return sum(len(waiting.prompts) for waiting in self._waiting)

    async def ask(
        self, prompts: Sequence[Prompt], how: Sampling, hear: Hear | None = None, num_top: int = 0
    ) -> list[Completion]:
        """The completions of one client's prompts; what its policy raises is raised here, for this client alone.

        `hear` gets every token as it is decoded, with its `num_top` likeliest rivals, where the policy can be heard.
        """
        self._make_room(len(prompts))
        if num_top and not isinstance(self.policy, Streams):
            raise BadInput("this policy tells no log-probabilities of tokens it did not draw", where="top_logprobs")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(tuple(prompts), how, loop.create_future(), hear, num_top)
        self._waiting.append(waiting)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        try:
            return await waiting.reply
        finally:  # a cancelled caller leaves a cancelled future, which the thread sees
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    async def alone(self, function: Callable[[], _Made]) -> _Made:
        """What a function returns that runs in the policy's thread while nobody samples (an update of weights, say)."""
        return await asyncio.wrap_future(self.submit(function))

    def submit(self, function: Callable[[], _Made]) -> Future[_Made]:
        """The same for callers outside the event loop."""
        return self._thread.submit(function)

    def _make_room(self, num: int) -> None:
        """Raise Busy where the queue is full; a request larger than the queue may come when nobody waits."""
        if self._waiting and self.num_waiting + num > self.max_waiting:
            batches = 1 + self.num_waiting / MAX_BATCH
            raise Busy(f"{self.num_waiting} prompts wait already", max(1, math.ceil(batches * self._batch_s)))

    async def _work(self) -> None:
        await asyncio.sleep(0)  # requests of the same tick belong to the same batch
        while self._waiting:
            batch = self._next_batch()
            start_s = time.perf_counter()
            for waiting in batch:
                self.meters.seconds.add(start_s - waiting.since_s, "queue")
            try:
                made = await self._sample(batch)
            except Exception as error:  # handed to the client it belongs to, whatever it is
                await self._answer_apart(batch, error)
                continue
            self._batch_s = time.perf_counter() - start_s
            for waiting in batch:
                _settle(waiting, made[: len(waiting.prompts)])
                del made[: len(waiting.prompts)]

    def _next_batch(self) -> list[_Waiting]:
        """The first that waits, and all whose sampling differs by its length alone, as far as there is room."""
        first, num_prompts = self._waiting[0], 0
        batch: list[_Waiting] = []
        rest: list[_Waiting] = []
        for waiting in self._waiting:
            fits = not batch or num_prompts + len(waiting.prompts) <= MAX_BATCH
            if _together([first, waiting]) == _together([waiting, first]) and fits:
                batch.append(waiting)
                num_prompts += len(waiting.prompts)
            else:
                rest.append(waiting)
        self._waiting = rest
        return batch

    async def _answer_apart(self, batch: list[_Waiting], error: Exception) -> None:
        """One bad prompt must not fail its neighbours: after a failure everybody is asked for alone.

        Whose tokens have been heard already is told of the failure: they cannot be taken back.
        """
        for waiting in batch:
            if len(batch) == 1 or waiting.was_heard:
                _settle(waiting, error)
                continue
            try:
                _settle(waiting, await self._sample([waiting]))
            except Exception as own:
                _settle(waiting, own)

    async def _sample(self, batch: Sequence[_Waiting]) -> list[Completion]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._sample_now, batch, loop)

    def _sample_now(self, batch: Sequence[_Waiting], loop: asyncio.AbstractEventLoop) -> list[Completion]:
        prompts, how = [prompt for waiting in batch for prompt in waiting.prompts], _together(batch)
        self.meters.rows.observe(len(prompts))
        try:
            with self.meters.part("sample"):
                if isinstance(self.policy, Streams):
                    return self.policy.sample_now(prompts, how, self._listening(batch, how, loop))
                return asyncio.run(self.policy.sample(prompts, how))
        finally:
            if isinstance(self.policy, Forgets):
                self.policy.forget()

    def _listening(self, batch: Sequence[_Waiting], how: Sampling, loop: asyncio.AbstractEventLoop) -> _Listening:
        return _Listening(batch, how, loop, getattr(self.policy, "version", 0))


class _Listening:
    """The watch of one batch: passes on what rows drew to those who want to hear it, and ends rows of the gone."""

    def __init__(self, batch: Sequence[_Waiting], how: Sampling, loop: asyncio.AbstractEventLoop, version: int) -> None:
        self.batch, self.how, self.loop, self.version = batch, how, loop, version
        self.owners = [(waiting, place) for waiting in batch for place in range(len(waiting.prompts))]
        self.has_ears = any(waiting.hear for waiting in batch)

    def __call__(self, step: Step) -> Collection[int]:
        """Rows that nobody waits for any more."""
        if self.has_ears:
            told = self._told(step)
            if told:
                self.loop.call_soon_threadsafe(_tell, told)
        if not any(waiting.reply.done() for waiting in self.batch):
            return ()
        return {row for row in step.rows if self.owners[row][0].reply.done()}

    def _told(self, step: Step) -> list[tuple[_Waiting, list[Heard]]]:
        """What each of those who listen hears of a step."""
        drawn = zip(step.rows, step.tokens, step.sampled, step.model, strict=True)
        told: dict[int, tuple[_Waiting, list[Heard]]] = {}
        for line, (row, token, sampled, model) in enumerate(drawn):
            waiting, place = self.owners[row]
            if waiting.hear is None:
                continue
            top = self._top(step, line, waiting.num_top) if waiting.num_top else ()
            told.setdefault(id(waiting), (waiting, []))[1].append(
                Heard(place, token, sampled, model, top, self.version)
            )
        return list(told.values())

    def _top(self, step: Step, line: int, num: int) -> Top:
        from evolvent.policies.decode import likeliest

        ids, values = likeliest(step.logits[line : line + 1], self.how, num)
        pairs = zip(ids[0].tolist(), values[0].tolist(), strict=True)
        return tuple((token, value) for token, value in pairs if value > -math.inf)


def _tell(told: Sequence[tuple[_Waiting, list[Heard]]]) -> None:
    for waiting, heard in told:
        if waiting.hear is not None and not waiting.reply.done():
            waiting.was_heard = True
            waiting.hear(heard)


def _together(batch: Sequence[_Waiting]) -> Sampling:
    """The sampling of a batch: that of the first, as long as the longest; each prompt carries its own limit."""
    return replace(batch[0].how, max_tokens=max(waiting.how.max_tokens for waiting in batch))


def _settle(waiting: _Waiting, outcome: list[Completion] | Exception) -> None:
    if waiting.reply.done():  # its client has gone
        return
    if isinstance(outcome, Exception):
        waiting.reply.set_exception(outcome)
    else:
        waiting.reply.set_result(outcome)
