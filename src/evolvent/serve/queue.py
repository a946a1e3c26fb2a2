"""Collects what many clients ask at once, and asks the policy one batch at a time in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from evolvent.policies.policy import Policy
from evolvent.records import Completion, Prompt, Sampling

MAX_BATCH = 64
"""Prompts in one call of the policy; more wait, so that memory stays bounded."""


@runtime_checkable
class Forgets(Protocol):
    """A policy that keeps context between calls, which no client of ours refers to."""

    def forget(self) -> None:
        """Drop it."""
        ...


@dataclass(slots=True)
class _Waiting:
    prompts: tuple[Prompt, ...]
    how: Sampling
    reply: asyncio.Future[list[Completion]]


class Queue:
    """Requests that arrive while the policy speaks are answered together in its next call."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._waiting: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None
        # one thread: a policy is never asked twice at the same time, and the event loop goes on answering
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="policy")

    async def ask(self, prompts: Sequence[Prompt], how: Sampling) -> list[Completion]:
        """The completions of one client's prompts; what its policy raises is raised here, for this client alone."""
        waiting = _Waiting(tuple(prompts), how, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await waiting.reply

    async def _work(self) -> None:
        await asyncio.sleep(0)  # requests of the same tick belong to the same batch
        while self._waiting:
            batch = self._next_batch()
            try:
                made = await self._sample([p for w in batch for p in w.prompts], _together(batch))
            except Exception as error:  # handed to the client it belongs to, whatever it is
                await self._answer_apart(batch, error)
                continue
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
        """One bad prompt must not fail its neighbours: after a failure everybody is asked for alone."""
        for waiting in batch:
            if len(batch) == 1:
                _settle(waiting, error)
                continue
            try:
                _settle(waiting, await self._sample(waiting.prompts, waiting.how))
            except Exception as own:
                _settle(waiting, own)

    async def _sample(self, prompts: Sequence[Prompt], how: Sampling) -> list[Completion]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._sample_now, prompts, how)

    def _sample_now(self, prompts: Sequence[Prompt], how: Sampling) -> list[Completion]:
        try:
            return asyncio.run(self.policy.sample(prompts, how))
        finally:
            if isinstance(self.policy, Forgets):
                self.policy.forget()


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
