"""A world whose tools share a pool: so many calls at a time and a second in the whole process, each with a deadline."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar

from evolvent.envs.world import World, WorldPlan, WorldStep
from evolvent.errors import BadInput, ToolError
from evolvent.records import Block, Message, Task, Text, Tool, ToolCall, ToolResult

NUM_KEPT = 4096  # of the last calls, for p50 and p99

T = TypeVar("T")


@dataclass(frozen=True)
class Pooled:
    """Any world, its tool calls carried out at most `max_concurrent` at a time over all episodes of this process.

    A call that works longer than `deadline_s` (waiting for its turn not counted) is cancelled, and the agent hears that
    it timed out. At most `calls_per_s` begin in a second. What an episode leaves behind is cancelled as it ends. The
    tools `in_threads` are plain functions that wait (a library without async): each runs in a thread of its own, where
    it must touch nothing that another call does; past its deadline it is given up and keeps its place until it returns.
    Plans that are equal share a pool; `counts` says how it goes.
    """

    world: WorldPlan
    max_concurrent: int = 8  # as MARTI
    deadline_s: float = 10.0
    calls_per_s: float | None = None
    in_threads: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_concurrent < 1 or self.deadline_s <= 0 or (self.calls_per_s is not None and self.calls_per_s <= 0):
            raise BadInput(
                "a pool of nothing",
                where="Pooled",
                got=f"{self.max_concurrent} at a time, {self.deadline_s} s, {self.calls_per_s} a second",
                wanted="all above 0",
            )

    def open(self, task: Task, seed: int) -> PooledWorld:
        """The world of one episode, its calls through the pool."""
        return PooledWorld(self.world.open(task, seed), self, _pool_of(self))

    @property
    def counts(self) -> Counts:
        """What the pool of this plan has done so far in this process."""
        return _pool_of(self).counts()


@dataclass(frozen=True, slots=True)
class Counts:
    """What a pool has done: calls that ended, timed out or were cancelled; seconds waited in all, and calls now."""

    calls: int
    timeouts: int
    cancelled: int
    waiting_s: float
    p50_s: float
    p99_s: float
    now_running: int
    most_running: int

    def __str__(self) -> str:
        return (
            f"{self.calls} calls, {self.timeouts} timed out, {self.cancelled} cancelled; p50 {self.p50_s:.3f} s, "
            f"p99 {self.p99_s:.3f} s, waited {self.waiting_s:.1f} s; {self.now_running} running, "
            f"{self.most_running} at most"
        )


class PooledWorld:
    """The live world of one episode; what is not about calls is the inner world's own."""

    def __init__(self, inner: World, plan: Pooled, pool: Pool) -> None:
        self.inner, self._plan, self._pool = inner, plan, pool
        self._running: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> PooledWorld:
        self.inner = await self.inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        left = list(self._running)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self.inner.__aexit__(kind, error, trace)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)  # evidence, seed and whatever else a world has beside the protocol

    @property
    def seats(self) -> tuple[str, ...]:
        """Who may act in this world."""
        return self.inner.seats

    @property
    def to_move(self) -> tuple[str, ...]:
        """The seats whose action is awaited."""
        return self.inner.to_move

    def observe(self, seat: str) -> tuple[Block, ...]:
        """What a seat sees before it acts."""
        return self.inner.observe(seat)

    def tools(self, seat: str) -> tuple[Tool, ...]:
        """The tools that a seat may call."""
        return self.inner.tools(seat)

    async def call(self, seat: str, call: ToolCall) -> ToolResult:
        """Run one tool when its turn has come; one that takes too long comes back as an error."""
        make = functools.partial(self.inner.call, seat, call)
        try:
            return await self._pass(make, call.name in self._plan.in_threads)
        except TimedOut as late:
            return ToolResult(call.name, f"error: {call.name} {late.what}", is_error=True)

    async def step(self, actions: Mapping[str, Message]) -> Mapping[str, WorldStep]:
        """Carry out one action per seat; where they call tools they take one place in the pool together."""
        names = {call.name for message in actions.values() for call in message.calls}
        make = functools.partial(self.inner.step, actions)
        if not names:
            return await make()
        try:
            return await self._pass(make, names <= set(self._plan.in_threads))
        except TimedOut as late:
            return {seat: WorldStep((Text(f"error: the action {late.what}"),)) for seat in actions}

    def snapshot(self) -> bytes:
        """The whole state of the inner world."""
        return self.inner.snapshot()

    def restore(self, state: bytes) -> None:
        """Go back to a snapshot."""
        self.inner.restore(state)

    def state_digest(self) -> str:
        """SHA-256 of the inner state."""
        return self.inner.state_digest()

    async def _pass(self, make: Callable[[], Awaitable[T]], in_thread: bool) -> T:
        run = self._pool.run_in_thread if in_thread else self._pool.run
        task = asyncio.ensure_future(run(make))
        self._running.add(task)
        task.add_done_callback(self._note_end)
        try:
            return await task
        except asyncio.CancelledError:
            task.cancel()
            raise

    def _note_end(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        self._pool.cancelled += task.cancelled()


class TimedOut(ToolError):
    """A call worked longer than its deadline."""


# ---------------------------------------------------------------- the pool itself


@dataclass
class Pool:
    """The live pool of equal plans: places, a rate, and what was counted; loops and threads may share it."""

    plan: Pooled
    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = field(default_factory=deque)
    now_running: int = 0
    most_running: int = 0
    calls: int = 0
    timeouts: int = 0
    cancelled: int = 0
    waiting_s: float = 0.0
    next_s: float = 0.0
    last_s: deque[float] = field(default_factory=lambda: deque(maxlen=NUM_KEPT))

    async def run(self, make: Callable[[], Awaitable[T]]) -> T:
        """Await what `make` makes within the deadline, when there is a place."""
        await self._enter()
        start = time.perf_counter()
        try:
            return await self._in_time(make())
        finally:
            self._leave(start)

    async def run_in_thread(self, make: Callable[[], Awaitable[T]]) -> T:
        """The same in a thread with a loop of its own; given up after the deadline, its place is free at its end."""
        await self._enter()
        start = time.perf_counter()
        made = _in_thread(make)
        made.add_done_callback(lambda _: self._leave(start))
        return await self._in_time(asyncio.wrap_future(made))

    async def _in_time(self, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self.plan.deadline_s) as limit:
                return await work
        except TimeoutError as error:
            if not limit.expired():
                raise
            self.timeouts += 1
            raise TimedOut(f"timed out after {self.plan.deadline_s:g} s") from error

    def counts(self) -> Counts:
        """As it stands."""
        with self.lock:
            slow = sorted(self.last_s)
            p50, p99 = (slow[min(len(slow) - 1, int(share * len(slow)))] if slow else 0.0 for share in (0.5, 0.99))
            return Counts(
                self.calls, self.timeouts, self.cancelled, self.waiting_s, p50, p99, self.now_running, self.most_running
            )

    async def _enter(self) -> None:
        """Wait for a place, first come first served, and then for the rate to allow a call."""
        start = time.perf_counter()
        await self._take_place()
        try:
            await asyncio.sleep(self._pause_s())
        except asyncio.CancelledError:
            self._hand_on()
            raise
        with self.lock:
            self.waiting_s += time.perf_counter() - start

    async def _take_place(self) -> None:
        loop = asyncio.get_running_loop()
        with self.lock:
            if self.now_running < self.plan.max_concurrent and not self.waiting:
                self._count_one()
                return
            turn: asyncio.Future[None] = loop.create_future()
            self.waiting.append((loop, turn))
        try:
            await turn
        except asyncio.CancelledError:
            with self.lock:
                is_queued = (loop, turn) in self.waiting
                if is_queued:
                    self.waiting.remove((loop, turn))
            if not is_queued:  # the place was on its way here
                self._hand_on()
            raise

    def _count_one(self) -> None:
        self.now_running += 1
        self.most_running = max(self.most_running, self.now_running)

    def _pause_s(self) -> float:
        """Seconds until the next call may begin, which is hereby taken."""
        if self.plan.calls_per_s is None:
            return 0.0
        with self.lock:
            now_s = time.perf_counter()
            begin_s = max(now_s, self.next_s)
            self.next_s = begin_s + 1 / self.plan.calls_per_s
            return begin_s - now_s

    def _leave(self, start: float) -> None:
        with self.lock:
            self.calls += 1
            self.last_s.append(time.perf_counter() - start)
        self._hand_on()

    def _hand_on(self) -> None:
        """Give the place to who waits longest; a loop that is gone waits no more."""
        with self.lock:
            self.now_running -= 1
            while self.waiting:
                loop, turn = self.waiting.popleft()
                try:
                    loop.call_soon_threadsafe(_wake, turn)
                except RuntimeError:
                    continue
                self._count_one()
                return


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


def _in_thread(make: Callable[[], Awaitable[T]]) -> Future[T]:
    """What `make` makes, awaited in a daemon thread: one that never returns must not keep the process alive."""
    made: Future[T] = Future()
    made.set_running_or_notify_cancel()  # from here on nobody can cancel it, so its end is its end

    def work() -> None:
        try:
            made.set_result(asyncio.run(_awaited(make)))
        except BaseException as error:  # whoever waits is told
            made.set_exception(error)

    threading.Thread(target=work, name="tool", daemon=True).start()
    return made


async def _awaited(make: Callable[[], Awaitable[T]]) -> T:
    return await make()


_pools: list[Pool] = []
_finding = threading.Lock()


def _pool_of(plan: Pooled) -> Pool:
    """The pool of all plans that equal this one; a plan need not be hashable."""
    with _finding:
        found = next((pool for pool in _pools if pool.plan is plan or pool.plan == plan), None)
        if found is None:
            found = Pool(plan)
            _pools.append(found)
        return found
