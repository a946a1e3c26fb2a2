"""Self-play in one episode: a setter proposes a problem, a gate decides, and solvers attempt what was accepted."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from evolvent.envs.world import World
from evolvent.errors import BadInput
from evolvent.records import Message, Task, role_of, said
from evolvent.rollouts.seat import BudgetSpent, Seat
from evolvent.rollouts.workflows import Answer, Team

SETTER = "setter"
UNREADABLE = "unreadable"
SAYS_NO, SAYS_NOTHING = "judge says no", "judge says neither"


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a setter said, as far as it could be read: `task` is the problem to pose, None where there is none.

    `fault` is what the domain's verifier holds against it, one of the domain's `faults`, empty where it is valid. `key`
    is the same for problems that are one in disguise, `form` for problems of one kind.
    """

    task: Task | None
    fault: str = ""
    key: str = ""
    form: str = ""
    problem: str = ""
    reference: str = ""


class Domain(Protocol):
    """A kind of problem that can be proposed: how a setter is asked, how it may answer, what is made of its words."""

    @property
    def faults(self) -> tuple[str, ...]:
        """All that a proposal may be refused for."""
        ...

    def ask(self, seed: Task) -> tuple[Message, ...]:
        """What the setter hears: the problem to make another one from."""
        ...

    def show(self, seed: Task) -> str:
        """A proposal from this seed as it should be, for a cold start."""
        ...

    def read(self, seed: Task, words: str) -> Proposal:
        """What a setter's words say, checked as far as the domain can."""
        ...


Gate = Callable[[Proposal, Task, Team], Awaitable[str]]
"""Why a proposal made from a seed is refused; empty where solvers may see it."""


async def verified(proposal: Proposal, seed: Task, team: Team) -> str:
    """Only what the domain's verifier holds to be valid passes."""
    return proposal.fault


async def readable(proposal: Proposal, seed: Task, team: Team) -> str:
    """Everything that can be read passes, true or not."""
    return "" if proposal.task is not None else proposal.fault or UNREADABLE


@dataclass(frozen=True, slots=True)
class Asked:
    """A soft gate: fixed rules first, then a policy that is asked yes or no.

    `rules` are the faults that need no knowledge (form, copies); everything else that a verifier may know stays out of
    the decision, so that how often the two agree can be told. What is neither yes nor no is refused.
    """

    rules: tuple[str, ...]
    seat: str = "judge"
    reasons: ClassVar[tuple[str, ...]] = (SAYS_NO, SAYS_NOTHING)

    async def __call__(self, proposal: Proposal, seed: Task, team: Team) -> str:
        """Why the proposal is refused."""
        if proposal.task is None:
            return proposal.fault or UNREADABLE
        if proposal.fault in self.rules:
            return proposal.fault
        verdict = await speak(team[self.seat], said("user", QUESTION.format(proposal.problem, proposal.reference)))
        first = re.match(r"\W*(yes|no)\b", verdict, flags=re.IGNORECASE)
        if first is None:
            return SAYS_NOTHING
        return "" if first[1].lower() == "yes" else SAYS_NO


QUESTION = (
    "Problem: {}\nAnswer: {}\nIs the problem well posed and complete, is the answer right, and is it an answer to this "
    "problem? Say yes or no."
)


@dataclass(frozen=True, slots=True)
class SelfPlay:
    """The setter proposes from a seed task; every seat of `attempted_by` attempts what the gate lets through.

    Where it refuses, the seats of `instead` attempt the seed, so that the update of a round does not shrink with the
    share of proposals that hold. The episode's `info` says what was proposed (`words`, `problem`, `reference`, `key`,
    `form`), what the verifier held against it (`fault`), why the gate refused it (`refused`), what was attempted
    (`posed`, a Task, or None), by which seat with which words (`attempts`), and whether gate and verifier agree
    (`agrees`).
    """

    domain: Domain
    gate: Gate
    attempted_by: tuple[str, ...] = ("solver",)
    instead: tuple[str, ...] = ()

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one episode."""
        words = await speak(team[SETTER], *self.domain.ask(task))
        proposal = self.domain.read(task, words)
        refused = await self.gate(proposal, task, team)
        is_posed = not refused and proposal.task is not None
        posed = proposal.task if is_posed else task if self.instead else None
        attempts = await attempt(posed, team, self.attempted_by if is_posed else self.instead) if posed else {}
        info = {
            "words": words,
            "problem": proposal.problem,
            "reference": proposal.reference,
            "key": proposal.key,
            "form": proposal.form,
            "fault": proposal.fault,
            "refused": refused,
            "agrees": bool(refused) == bool(proposal.fault),
            "call": team[SETTER].turns[-1].call_id,
            "posed": posed,
            "attempts": attempts,
        }
        return Answer(words or "nothing", info)


async def attempt(task: Task, team: Team, roles: tuple[str, ...]) -> dict[str, str]:
    """What every seat of these roles answers to a task, each without hearing the others."""
    seats = [seat for seat in team if role_of(seat) in roles]
    replies = await asyncio.gather(*(speak(team[seat], *task.prompt) for seat in seats))
    return dict(zip(seats, replies, strict=True))


async def speak(seat: Seat, *heard: Message) -> str:
    """What a seat says; one that runs out of tokens has said what it said, and the others play on."""
    try:
        return (await seat.say(*heard)).text.strip()
    except BudgetSpent:
        last = seat.turns[-1].message  # what was heard, where not even a first token had room
        return last.text.strip() if last.role == "assistant" else ""


@dataclass(frozen=True, slots=True)
class Alone:
    """One seat answers the task, and nobody else speaks: what is measured."""

    seat: str = "solver/1"

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one episode."""
        return Answer(await speak(team[self.seat], *task.prompt))


@dataclass(frozen=True, slots=True)
class Practise:
    """The control of self-play: every seat of a role attempts the seed, and nobody proposes anything."""

    role: str = "solver"

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one episode."""
        attempts = await attempt(task, team, (self.role,))
        return Answer(next(iter(attempts.values())), {"posed": task, "attempts": attempts})


@dataclass(frozen=True, slots=True)
class Rehearse:
    """The cold start of self-play: the setter recites a proposal made from the task, the solver its worked solution."""

    domain: Domain
    solver: str = "solver/1"

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one demonstration."""
        if task.private is None:
            raise BadInput("a task without its private part cannot be demonstrated", where=task.task_id)
        team[SETTER].recite(said("assistant", self.domain.show(task)), *self.domain.ask(task))
        solution = task.private.solution or (said("assistant", task.private.answer),)
        heard = task.prompt
        for message in solution:
            team[self.solver].recite(message, *heard)
            heard = (said("user", "go on"),)
        return Answer(solution[-1].text.strip())
