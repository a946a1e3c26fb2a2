"""How a policy's thread answers those who wait: batch by batch, or row by row in a flow."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from evolvent.policies.policy import Flow, Step, Streams
from evolvent.records import Completion, Sampling
from evolvent.serve.queue import MAX_BATCH, Heard, Queue, Waiting, heard_of, tell


@runtime_checkable
class Forgets(Protocol):
    """A policy that keeps context between calls, which no client of ours refers to."""

    def forget(self) -> None:
        """Drop it."""
        ...


def speak_in_batches(queue: Queue) -> None:
    """Call the policy until nobody waits; who comes meanwhile is answered together in its next call."""
    while batch := _next_batch(queue):
        try:
            made = _sample(queue, batch)
        except Exception as error:  # handed to the client it belongs to, whatever it is
            _answer_apart(queue, batch, error)
            continue
        for waiting in batch:
            queue.settle(waiting, made[: len(waiting.prompts)])
            del made[: len(waiting.prompts)]


def _next_batch(queue: Queue) -> list[Waiting]:
    """The first that waits, and all whose sampling differs by its length alone, as far as there is room."""
    first, num = queue.first(), 0

    def fits(waiting: Waiting) -> bool:
        nonlocal num
        if first is None or _together([first, waiting]) != _together([waiting, first]):
            return False
        if waiting is not first and num + len(waiting.prompts) > MAX_BATCH:
            return False
        num += len(waiting.prompts)
        return True

    return queue.take(fits)


def _answer_apart(queue: Queue, batch: list[Waiting], error: Exception) -> None:
    """One bad prompt must not fail its neighbours: after a failure everybody is asked for alone.

    Whose tokens have been heard already is told of the failure: they cannot be taken back.
    """
    for waiting in batch:
        if len(batch) == 1 or waiting.was_heard:
            queue.settle(waiting, error)
            continue
        try:
            queue.settle(waiting, _sample(queue, [waiting]))
        except Exception as own:
            queue.settle(waiting, own)


def _sample(queue: Queue, batch: Sequence[Waiting]) -> list[Completion]:
    prompts, how = [prompt for waiting in batch for prompt in waiting.prompts], _together(batch)
    policy = queue.policy
    queue.meters.rows.observe(len(prompts))
    try:
        with queue.meters.part("sample"):
            if isinstance(policy, Streams):
                return policy.sample_now(prompts, how, _Listening(batch, getattr(policy, "version", 0)))
            return asyncio.run(policy.sample(prompts, how))
    finally:
        if isinstance(policy, Forgets):
            policy.forget()


class _Listening:
    """The watch of one batch: passes on what rows drew to those who want to hear it, and ends rows of the gone."""

    def __init__(self, batch: Sequence[Waiting], version: int) -> None:
        self.batch, self.version = batch, version
        self.owners = [(waiting, place) for waiting in batch for place in range(len(waiting.prompts))]

    def __call__(self, step: Step) -> Collection[int]:
        """Rows that nobody waits for any more."""
        _tell_all(step, [self.owners[row] for row in step.rows], self.version)
        if not any(waiting.is_gone for waiting in self.batch):
            return ()
        return {row for row in step.rows if self.owners[row][0].is_gone}


def _tell_all(step: Step, owners: Sequence[tuple[Waiting, int] | None], version: int) -> None:
    """Let everybody who listens hear a step."""
    told: dict[int, tuple[Waiting, list[Heard]]] = {}
    for line, owner in enumerate(owners):
        if owner is not None and owner[0].hear is not None:
            heard = heard_of(step, line, owner, version)
            told.setdefault(id(owner[0]), (owner[0], []))[1].append(heard)
    for waiting, heard_all in told.values():
        tell(waiting, heard_all)


def _together(batch: Sequence[Waiting]) -> Sampling:
    """The sampling of a batch: that of the first, as long as the longest; each prompt carries its own limit."""
    return replace(batch[0].how, max_tokens=max(waiting.how.max_tokens for waiting in batch))


# ---------------------------------------------------------------- row by row


def speak_in_flow(queue: Queue, flow: Flow) -> None:
    """Step by step until nobody waits and no row is live; who comes is let in with the next step.

    A failure in a step is everybody's whose rows are live, and ends this flow.
    """
    rows = _Rows(queue, flow)
    while rows.let_in() or flow.num_live:
        try:
            with queue.meters.part("sample"):
                step, ended = flow.step()
        except Exception as error:  # handed to the clients, whatever it is
            rows.fail(error)
            return
        rows.pass_on(step, ended)


class _Rows:
    """Whose rows are live, and what has been made for whom."""

    def __init__(self, queue: Queue, flow: Flow) -> None:
        self.queue, self.flow = queue, flow
        self.version = getattr(queue.policy, "version", 0)
        self.owners: dict[int, tuple[Waiting, int]] = {}
        self.made: dict[Waiting, dict[int, Completion]] = {}

    def let_in(self) -> bool:
        """Admit those who wait, as far as there is room; whether anybody was."""
        room = MAX_BATCH - self.flow.num_live

        def fits(waiting: Waiting) -> bool:
            nonlocal room
            room -= len(waiting.prompts)
            return room >= 0 or room == MAX_BATCH - len(waiting.prompts)  # a large one is let in alone

        came = self.queue.take(fits)
        for waiting in came:
            try:
                numbers = self.flow.admit(waiting.prompts, waiting.how)
            except Exception as error:
                self.queue.settle(waiting, error)
                continue
            self.made[waiting] = {}
            self.owners |= {number: (waiting, place) for place, number in enumerate(numbers)}
        if came:
            self.queue.meters.rows.observe(self.flow.num_live)
        return bool(came)

    def pass_on(self, step: Step, ended: dict[int, Completion]) -> None:
        """Let clients hear a step, answer those whose rows have all ended, and let go of those who left."""
        _tell_all(step, [self.owners.get(row) for row in step.rows], self.version)
        for row, completion in ended.items():
            waiting, place = self.owners.pop(row)
            made = self.made[waiting]
            made[place] = completion
            if len(made) == len(waiting.prompts):
                self.queue.settle(waiting, [made[k] for k in range(len(made))])
                del self.made[waiting]
        for waiting in [w for w in self.made if w.is_gone]:
            gone = [row for row, (owner, _) in self.owners.items() if owner is waiting]
            self.flow.end(gone)
            for row in gone:
                del self.owners[row]
            del self.made[waiting]

    def fail(self, error: Exception) -> None:
        """Everybody whose rows are live hears of it."""
        for waiting in self.made:
            self.queue.settle(waiting, error)
