"""Plays many episodes side by side: a policy is asked once everybody who can speak is waiting to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from evolvent.envs.world import World, WorldPlan
from evolvent.errors import BadInput, EvolventError, InfrastructureError
from evolvent.policies.policy import Policy
from evolvent.records import Completion, Episode, Fault, Outcome, Prompt, Sampling, Task
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


@dataclass(frozen=True, slots=True)
class Stage:
    """All that episodes share: who plays, how, in which world, and within which budgets."""

    workflow: Workflow
    world: WorldPlan
    policies: Mapping[str, Policy]
    seats: Mapping[str, str]
    how: Sampling
    budgets: Budgets
    forces_call: bool = False


def play(attempts: Sequence[Attempt], stage: Stage) -> list[Episode]:
    """Play every attempt; episodes come back in the order of the attempts, whatever ended first."""
    missing = sorted(set(stage.seats.values()) - set(stage.policies))
    if missing:
        raise BadInput("a seat names a policy that does not exist", got=missing, wanted=sorted(stage.policies))
    return asyncio.run(play_async(attempts, stage))


async def play_async(attempts: Sequence[Attempt], stage: Stage) -> list[Episode]:
    """The same from inside a running event loop."""
    return await _Table(stage).play(attempts)


class _Table:
    """Gathers what live episodes ask, and asks the policies when no episode can go on by itself."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.live = 0
        self.waiting: list[_Waiting] = []
        self.tick = asyncio.Event()

    async def play(self, attempts: Sequence[Attempt]) -> list[Episode]:
        self.live = len(attempts)
        running = [asyncio.ensure_future(self._episode(i, a)) for i, a in enumerate(attempts)]
        try:
            while self.live:
                await self.tick.wait()
                self.tick.clear()
                if self.live and len(self.waiting) >= self.live:
                    await self._ask()
            return [task.result() for task in running]
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            for policy in self.stage.policies.values():
                getattr(policy, "forget", _nothing)()  # these episodes are over: nobody will extend their contexts

    async def _ask(self) -> None:
        """One round: every policy speaks for all its seats, in (attempt, seat) order."""
        asked, self.waiting = sorted(self.waiting, key=lambda w: w.order), []
        names = sorted({w.policy for w in asked})
        await asyncio.gather(*(self._sample(name, [w for w in asked if w.policy == name]) for name in names))

    async def _sample(self, name: str, batch: list[_Waiting]) -> None:
        policy = self.stage.policies[name]
        if hasattr(policy, "renderer"):  # local weights gain from a batch, and fail together or not at all
            made = await policy.sample([w.prompt for w in batch], self.stage.how)
            for w, completion in zip(batch, made, strict=True):
                w.reply.set_result(completion)
            return
        asked = (policy.sample([w.prompt], self.stage.how) for w in batch)
        for w, answer in zip(batch, await asyncio.gather(*asked, return_exceptions=True), strict=True):
            if isinstance(answer, BaseException):
                w.reply.set_exception(answer)
            else:
                w.reply.set_result(answer[0])

    async def _episode(self, number: int, attempt: Attempt) -> Episode:
        task, stage = attempt.task, self.stage
        seats: dict[str, Seat] = {}
        answer, outcome, fault = "", Outcome.OK, None
        try:
            async with stage.world.open(task, derive(stage.how.seed, task.task_id, attempt.sample)) as world:
                seats = {seat: self._seat(number, attempt, seat, world) for seat in stage.seats}
                answer = (await stage.workflow(task, seats, world)).text
                if not answer:
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
        return Episode(f"{task.task_id}/{attempt.sample}", task, attempt.sample, traces, answer)

    def _seat(self, number: int, attempt: Attempt, seat: str, world: World) -> Seat:
        stage = self.stage
        policy = stage.policies[stage.seats[seat]]

        async def ask(name: str, prompt: Prompt, _: Sampling) -> Completion:
            reply: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
            self.waiting.append(_Waiting((number, seat), name, prompt, reply))
            self.tick.set()
            return await reply

        return Seat(
            attempt.task,
            attempt.sample,
            name=seat,
            policy=stage.seats[seat],
            renderer=getattr(policy, "renderer", None),
            sampler=ask,
            how=stage.how,
            budgets=stage.budgets,
            tools=world.tools(seat),
            given=policy.renderer.call_start if stage.forces_call and hasattr(policy, "renderer") else (),
        )


def _nothing() -> None:
    """For policies that keep no context."""
