"""Plays many episodes side by side: a policy is asked once everybody who can speak is waiting to."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from evolvent.envs.world import World, WorldPlan, evidence_of
from evolvent.errors import BadInput, EvolventError, InfrastructureError
from evolvent.policies.policy import Policy
from evolvent.records import Completion, Episode, Fault, Outcome, Prompt, Sampling, Task, Trace
from evolvent.rollouts.seat import Budgets, BudgetSpent, Seat
from evolvent.rollouts.workflows import Answer, Team
from evolvent.seeds import derive

Workflow = Callable[[Task, Team, World], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at one task."""

    task: Task
    sample: int


@dataclass(slots=True)
class _Waiting:
    order: tuple[int, str]
    policy: str
    prompt: Prompt
    reply: asyncio.Future[Completion]
    since_s: float

    def answer(self, made: Completion | BaseException) -> None:
        """Wake the seat, unless its workflow has stopped waiting."""
        if self.reply.done():
            return
        if isinstance(made, BaseException):
            self.reply.set_exception(made)
        else:
            self.reply.set_result(made)


@dataclass(slots=True)
class Pace:
    """How fast episodes were played: their number, the calls of tools, seconds in all and those of sampling.

    Without patience no tool works while a policy samples, and the other way round: each waits for the other.
    """

    episodes: int = 0
    tool_calls: int = 0
    seconds: float = 0.0
    sampling_s: float = 0.0

    @property
    def idle_share(self) -> float:
        """The share of the time in which no policy sampled: all waited for tools, or for what else is between turns."""
        return 1 - self.sampling_s / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Stage:
    """All that episodes share: who plays, how, in which world, and within which budgets; `pace` adds up the time.

    A policy is asked once every episode waits to speak, so that the same seed gives the same batches. Where
    `patience_s` is given, it is asked once the first has waited so long, while tools and other policies go on: slow
    tools hold nobody up, and sums are rounded in another order from run to run.
    """

    workflow: Workflow
    world: WorldPlan
    policies: Mapping[str, Policy]
    seats: Mapping[str, str]
    how: Sampling
    budgets: Budgets
    forces_call: bool = False
    pace: Pace | None = None
    patience_s: float | None = None


def play(attempts: Sequence[Attempt], stage: Stage) -> list[Episode]:
    """Play every attempt; episodes come back in the order of the attempts, whatever ended first."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(play_async(attempts, stage))
    raise BadInput(
        "play() cannot wait inside a running event loop",
        where="rollouts.play",
        got="a call from async code (a notebook, a server, an async test)",
        cure="await play_async(attempts, stage)",
    )


async def play_async(attempts: Sequence[Attempt], stage: Stage) -> list[Episode]:
    """The same from inside a running event loop."""
    missing = sorted(set(stage.seats.values()) - set(stage.policies))
    if missing:
        raise BadInput("a seat names a policy that does not exist", got=missing, wanted=sorted(stage.policies))
    start, pace = time.perf_counter(), stage.pace
    played: list[Episode] = []
    most = getattr(stage.workflow, "max_at_once", None) or max(1, len(attempts))
    # in step everybody who plays is waited for, so those who have no room yet must not count as playing
    at_once = most if stage.patience_s is None else max(1, len(attempts))
    for first in range(0, len(attempts), at_once):
        played += await _Table(stage, most).play(attempts[first : first + at_once])
    if pace is not None:
        pace.seconds += time.perf_counter() - start
        pace.episodes += len(played)
        pace.tool_calls += sum(len(trace.calls) for episode in played for trace in episode.traces)
    return played


class _Seats(dict[str, Seat]):
    """The team of one episode; a workflow that asks for a seat which the plan lacks is told so."""

    def __missing__(self, seat: str) -> Seat:
        raise BadInput(
            f"the workflow asks for a seat {seat!r} that nobody has",
            where="seats",
            got=", ".join(self),
            cure=f'name its policy in the plan: seats={{"{seat}": "agent"}}',
        )


class _Table:
    """Gathers what live episodes ask, and asks the policies when no episode can go on by itself."""

    def __init__(self, stage: Stage, max_at_once: int) -> None:
        self.stage = stage
        self.room = asyncio.Semaphore(max_at_once)
        self.live = 0
        self.waiting: list[_Waiting] = []
        self.tick = asyncio.Event()
        self.asking: dict[asyncio.Task[None], str] = {}
        self.thread = ThreadPoolExecutor(max_workers=max(1, len(stage.policies)), thread_name_prefix="policy")

    async def play(self, attempts: Sequence[Attempt]) -> list[Episode]:
        self.live = len(attempts)
        running = [asyncio.ensure_future(self._in_turn(i, a)) for i, a in enumerate(attempts)]
        try:
            await (self._in_step() if self.stage.patience_s is None else self._as_they_come(self.stage.patience_s))
            return [task.result() for task in running]
        finally:
            for task in (*running, *self.asking):
                task.cancel()
            await asyncio.gather(*running, *self.asking, return_exceptions=True)
            self.thread.shutdown()
            for policy in self.stage.policies.values():
                getattr(policy, "forget", _nothing)()  # these episodes are over: nobody will extend their contexts

    async def _in_step(self) -> None:
        """Ask once every live episode waits."""
        while self.live:
            await self.tick.wait()
            self.tick.clear()
            if self.live and self._all_wait():
                await self._ask()

    def _all_wait(self) -> bool:
        """Two seats of one episode may wait at once: what counts is that every episode does."""
        return len({w.order[0] for w in self.waiting}) >= self.live

    async def _as_they_come(self, patience_s: float) -> None:
        """Ask each policy that is free once a seat of it has waited long enough, or nobody else can come."""
        while self.live:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.tick.wait(), self._soonest_s(patience_s))
            self.tick.clear()
            for task in [t for t in self.asking if t.done()]:
                del self.asking[task]
                task.result()
            now_s = time.perf_counter()
            for name in sorted({w.policy for w in self.waiting} - set(self.asking.values())):
                batch = sorted((w for w in self.waiting if w.policy == name), key=lambda w: w.order)
                waits_s = (
                    patience_s if hasattr(self.stage.policies[name], "renderer") else 0.0
                )  # others have no batches
                if self._all_wait() or min(w.since_s for w in batch) + waits_s <= now_s:
                    self.waiting = [w for w in self.waiting if w.policy != name]
                    self._begin_to_ask(name, batch)

    def _soonest_s(self, patience_s: float) -> float | None:
        """Seconds until a seat of a free policy has waited long enough."""
        since = [w.since_s for w in self.waiting if w.policy not in self.asking.values()]
        return max(0.0, min(since) + patience_s - time.perf_counter()) if since else None

    def _begin_to_ask(self, name: str, batch: list[_Waiting]) -> None:
        """Local weights speak for one batch at a time; an endpoint is asked for each seat as it comes."""
        if hasattr(self.stage.policies[name], "renderer"):
            tasks = {asyncio.ensure_future(self._sample_aside(name, batch)): name}
        else:
            tasks = {asyncio.ensure_future(self._sample(name, [w])): "" for w in batch}
        for task in tasks:
            task.add_done_callback(lambda _: self._note_end())
        if not self.asking:
            self.busy_since_s = time.perf_counter()
        self.asking |= tasks

    def _note_end(self) -> None:
        if self.stage.pace is not None and all(task.done() for task in self.asking):
            self.stage.pace.sampling_s += time.perf_counter() - self.busy_since_s
        self.tick.set()

    async def _sample_aside(self, name: str, batch: list[_Waiting]) -> None:
        """Ask local weights in a thread, so that tools and other policies go on meanwhile."""
        policy, how = self.stage.policies[name], self.stage.how
        loop, prompts = asyncio.get_running_loop(), [w.prompt for w in batch]
        made = await loop.run_in_executor(self.thread, lambda: asyncio.run(policy.sample(prompts, how)))
        for w, completion in zip(batch, made, strict=True):
            w.answer(completion)

    async def _ask(self) -> None:
        """One round: every policy speaks for all its seats, in (attempt, seat) order."""
        asked, self.waiting = sorted(self.waiting, key=lambda w: w.order), []
        names = sorted({w.policy for w in asked})
        start = time.perf_counter()
        await asyncio.gather(*(self._sample(name, [w for w in asked if w.policy == name]) for name in names))
        if self.stage.pace is not None:
            self.stage.pace.sampling_s += time.perf_counter() - start

    async def _sample(self, name: str, batch: list[_Waiting]) -> None:
        policy = self.stage.policies[name]
        if hasattr(policy, "renderer"):  # local weights gain from a batch, and fail together or not at all
            made = await policy.sample([w.prompt for w in batch], self.stage.how)
            for w, completion in zip(batch, made, strict=True):
                w.answer(completion)
            return
        asked = (policy.sample([w.prompt], self.stage.how) for w in batch)
        for w, answer in zip(batch, await asyncio.gather(*asked, return_exceptions=True), strict=True):
            w.answer(answer if isinstance(answer, BaseException) else answer[0])

    async def _in_turn(self, number: int, attempt: Attempt) -> Episode:
        async with self.room:
            return await self._episode(number, attempt)

    async def _episode(self, number: int, attempt: Attempt) -> Episode:
        task, stage = attempt.task, self.stage
        seats = _Seats()
        answer, outcome, fault = Answer(""), Outcome.OK, None
        evidence: Mapping[str, Any] = {}
        try:
            async with stage.world.open(task, derive(stage.how.seed, task.task_id, attempt.sample)) as world:
                seats = _Seats({seat: self._seat(number, attempt, seat, world) for seat in stage.seats})
                try:
                    answer = await stage.workflow(task, seats, world)
                finally:
                    evidence = await evidence_of(world)
                if not answer.text:
                    outcome = Outcome.AGENT_FAILED
        except BudgetSpent:
            outcome = Outcome.AGENT_FAILED
        except InfrastructureError as error:
            outcome, fault = Outcome.INFRASTRUCTURE_FAILED, Fault(type(error).__name__, str(error), "rollout")
        except EvolventError:
            raise
        except (OSError, RuntimeError, TimeoutError) as error:
            outcome, fault = Outcome.INFRASTRUCTURE_FAILED, Fault(type(error).__name__, str(error), "rollout")
        finally:
            self.live -= 1
            self.tick.set()
        traces = tuple(seat.trace(outcome, fault) for seat in seats.values())
        if not seats:  # the world never opened: the fault still needs traces that carry it
            traces = tuple(
                Trace(task.task_id, attempt.sample, seat, policy, (), outcome, fault=fault)
                for seat, policy in stage.seats.items()
            )
        episode_id = f"{task.task_id}/{attempt.sample}"
        return Episode(episode_id, task, attempt.sample, traces, answer.text, {**answer.info, **evidence})

    def _seat(self, number: int, attempt: Attempt, seat: str, world: World) -> Seat:
        stage = self.stage
        policy = stage.policies[stage.seats[seat]]

        async def ask(name: str, prompt: Prompt, _: Sampling) -> Completion:
            reply: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
            self.waiting.append(_Waiting((number, seat), name, prompt, reply, time.perf_counter()))
            self.tick.set()
            try:
                return await reply
            except asyncio.CancelledError:  # nobody waits for this answer any more
                self.waiting = [w for w in self.waiting if w.reply is not reply]
                raise

        return Seat(
            attempt.task,
            attempt.sample,
            name=seat,
            policy=stage.seats[seat],
            renderer=getattr(policy, "renderer", None),
            sampler=ask,
            how=stage.how,
            budgets=stage.budgets,
            tools=world.tools(seat) if seat in world.seats else (),  # others talk, and touch nothing
            given=policy.renderer.call_start if stage.forces_call and hasattr(policy, "renderer") else (),
        )


def _nothing() -> None:
    """For policies that keep no context."""
