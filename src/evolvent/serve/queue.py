"""Where requests wait for the policy, which speaks in a thread of its own: in batches, or in a flow."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from evolvent.errors import BadInput
from evolvent.policies.policy import Flows, Policy, Step, Streams
from evolvent.records import Completion, Prompt, Sampling
from evolvent.serve.meters import Meters
from evolvent.serve.refusals import Busy

MAX_BATCH = 64
"""Prompts that are sampled together; more wait, so that memory stays bounded."""

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


@dataclass(slots=True, eq=False)
class Waiting:
    """One client's prompts from the moment they come until they are answered."""

    prompts: tuple[Prompt, ...]
    how: Sampling
    reply: asyncio.Future[list[Completion]]
    hear: Hear | None
    num_top: int
    since_s: float = field(default_factory=time.perf_counter)
    was_heard: bool = False

    @property
    def is_gone(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.reply.done()


class Queue:
    """At most `max_waiting` prompts wait; whoever comes then is told to come back.

    A caller that is cancelled leaves: its prompts are not sampled any further where the policy can be interrupted.
    """

    def __init__(self, policy: Policy, meters: Meters, max_waiting: int = 256) -> None:
        self.policy, self.meters, self.max_waiting = policy, meters, max_waiting
        self._waiting: list[Waiting] = []
        self._lock = threading.Lock()
        self._is_at_work = False
        self._num_alone = 0
        self._wait_s = 1.0  # how long somebody waited lately, for those who are sent away
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
        waiting = Waiting(tuple(prompts), how, loop.create_future(), hear, num_top)
        with self._lock:
            self._waiting.append(waiting)
        loop.call_soon(self._begin)  # requests of the same tick belong together
        try:
            return await waiting.reply
        finally:  # a cancelled caller leaves a cancelled future, which the thread sees
            with self._lock:
                self._waiting = [other for other in self._waiting if other is not waiting]

    async def alone(self, function: Callable[[], _Made]) -> _Made:
        """What a function returns that runs in the policy's thread while nobody samples (an update of weights, say)."""
        return await asyncio.wrap_future(self.submit(function))

    def submit(self, function: Callable[[], _Made]) -> Future[_Made]:
        """The same for callers outside the event loop."""

        def work() -> _Made:
            try:
                return function()
            finally:
                with self._lock:
                    self._num_alone -= 1
                self._begin()

        with self._lock:
            self._num_alone += 1
        return self._thread.submit(work)

    # ------------------------------------------------------------ for the policy's thread

    def take(self, fits: Callable[[Waiting], bool]) -> list[Waiting]:
        """Those who fit, in the order they came; they wait no longer. Nobody while a function waits to run alone."""
        with self._lock:
            if self._num_alone:
                return []
            taken = [waiting for waiting in self._waiting if fits(waiting)]
            self._waiting = [waiting for waiting in self._waiting if waiting not in taken]
        now_s = time.perf_counter()
        for waiting in taken:
            self._wait_s = now_s - waiting.since_s
            self.meters.seconds.add(self._wait_s, "queue")
        return taken

    def first(self) -> Waiting | None:
        """Who has waited longest."""
        with self._lock:
            return self._waiting[0] if self._waiting else None

    def settle(self, waiting: Waiting, outcome: list[Completion] | Exception) -> None:
        """Answer somebody."""
        _in_loop(waiting, lambda: _settle(waiting, outcome))

    def _begin(self) -> None:
        with self._lock:
            begins = bool(self._waiting) and not self._is_at_work and not self._num_alone
            self._is_at_work = self._is_at_work or begins
        if begins:
            self._thread.submit(self._work)

    def _work(self) -> None:
        from evolvent.serve.speaking import speak_in_batches, speak_in_flow

        try:
            flow = self.policy.flow() if isinstance(self.policy, Flows) else None
            if flow is None:
                speak_in_batches(self)
            else:
                speak_in_flow(self, flow)
        except Exception as error:
            for waiting in self.take(lambda _: True):
                self.settle(waiting, error)
            raise
        finally:
            with self._lock:
                self._is_at_work = False
            self._begin()

    def _make_room(self, num: int) -> None:
        """Raise Busy where the queue is full; a request larger than the queue may come when nobody waits."""
        if self._waiting and self.num_waiting + num > self.max_waiting:
            raise Busy(f"{self.num_waiting} prompts wait already", max(1, math.ceil(self._wait_s)))


def tell(waiting: Waiting, heard: list[Heard]) -> None:
    """Let somebody hear what a step brought, if there is an ear."""
    hear = waiting.hear

    def told() -> None:
        if hear is not None and not waiting.is_gone:
            hear(heard)

    waiting.was_heard = True
    _in_loop(waiting, told)


def heard_of(step: Step, line: int, owner: tuple[Waiting, int], version: int) -> Heard:
    """What the owner of a line of a step hears of it."""
    waiting, place = owner
    top = _top(step, line, waiting) if waiting.num_top else ()
    return Heard(place, step.tokens[line], step.sampled[line], step.model[line], top, version)


def _top(step: Step, line: int, waiting: Waiting) -> Top:
    from evolvent.policies.decode import likeliest

    ids, values = likeliest(step.logits[line : line + 1], waiting.how, waiting.num_top)
    pairs = zip(ids[0].tolist(), values[0].tolist(), strict=True)
    return tuple((token, value) for token, value in pairs if value > -math.inf)


def _in_loop(waiting: Waiting, function: Callable[[], None]) -> None:
    loop = waiting.reply.get_loop()
    if not loop.is_closed():  # the server may have ended while the policy spoke
        loop.call_soon_threadsafe(function)


def _settle(waiting: Waiting, outcome: list[Completion] | Exception) -> None:
    if waiting.is_gone:
        return
    if isinstance(outcome, Exception):
        waiting.reply.set_exception(outcome)
    else:
        waiting.reply.set_result(outcome)
