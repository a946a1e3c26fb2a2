"""Plays an episode with an agent that was written elsewhere: it gets a base URL and a task, and gives an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evolvent.envs.world import World
from evolvent.errors import BadInput, InfrastructureError
from evolvent.records import Task, said
from evolvent.rollouts.gateway import Lesson, Session
from evolvent.rollouts.workflows import Answer, Team
from evolvent.seeds import stream
from evolvent.serve.errand import LAST_LINE, OUTPUT, AgentFailed, Errand
from evolvent.serve.launch import find_runner


@dataclass(frozen=True)
class OutsideAgent:
    """An agent as a workflow: `file.py`, `file.py:function`, `module:function`, a command line, or a URL.

    All that it knows is a base URL in OpenAI's form, bound to the seat. It must answer within `timeout_s`; a process
    gets a group of its own and is ended with all its children. At most `max_at_once` run at a time. A process answers
    with the last line that it prints, or with all its output, as `answer_is` says; {"answer": ...} in JSON works in
    both.
    """

    agent: str
    timeout_s: float = 600.0
    max_at_once: int = 32
    answer_is: str = LAST_LINE
    seat: str = "agent"

    def __post_init__(self) -> None:
        if self.timeout_s <= 0 or self.max_at_once < 1:
            raise BadInput(
                "an agent needs time and room", where="agent", got=self, wanted="timeout_s > 0, max_at_once >= 1"
            )
        if self.answer_is not in (LAST_LINE, OUTPUT):
            raise BadInput("no such answer", where="answer_is", got=self.answer_is, wanted=f"{LAST_LINE} or {OUTPUT}")

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one episode."""
        return await attend(self, Session(team[self.seat]), task, world)


@dataclass(frozen=True)
class Coached:
    """The cold start of an agent from outside: whatever it asks, the task's worked solution is what its policy says.

    So the weights learn the agent's own prompts, tools and results. A share `direct_frac` of the tasks is answered at
    once, without tools.
    """

    outside: OutsideAgent
    direct_frac: float = 0.0

    @property
    def max_at_once(self) -> int:
        """How many episodes it can bear at a time."""
        return self.outside.max_at_once

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one demonstration."""
        if task.private is None:
            raise BadInput(
                "a task without its private part cannot be demonstrated",
                where=task.task_id,
                cure="use a source with answers, or cold_start=null",
            )
        answer = (said("assistant", task.private.answer),)
        is_direct = stream(0, "direct", task.task_id).random() < self.direct_frac
        solution = answer if is_direct else task.private.solution or answer
        return await attend(self.outside, Session(team[self.outside.seat], Lesson(solution)), task, world)


async def attend(plan: OutsideAgent, session: Session, task: Task, world: World) -> Answer:
    """Let the agent work at the task through the session, until it has answered, failed, or run out of time."""
    from evolvent.serve.gateway import open_gateway

    gateway, words, why = open_gateway(), "", ""
    with gateway.desk.admit(session, world) as name:
        errand = Errand(_public(task), gateway.base_url(name), plan.timeout_s, plan.answer_is)
        try:
            words = await asyncio.wait_for(find_runner(plan.agent)(errand), plan.timeout_s)
        except TimeoutError:
            raise InfrastructureError(
                f"the agent did not answer within {plan.timeout_s:g} s",
                where=plan.agent,
                got=f"{len(session.calls)} answered calls",
                cure="look for a wait without an end in the agent, or raise agent timeout_s",
            ) from None
        except AgentFailed as failed:
            why = str(failed)
        finally:
            await session.close()
    _check(plan, session, why, words)
    return Answer(words.strip(), _told(session, why))


def _check(plan: OutsideAgent, session: Session, why: str, words: str) -> None:
    """Tell what broke outside the policy from what it led the agent into: only the second carries a reward."""
    if session.fault is not None:
        raise session.fault
    if session.calls or session.seat.truncation:
        return
    if why:
        raise InfrastructureError("the agent broke before its first answered call", where=plan.agent, got=why)
    raise InfrastructureError(
        "the agent never asked its base URL",
        where=plan.agent,
        got=f"the answer {words[:80]!r}" if words else "no answer either",
        wanted="at least one call of .../v1/chat/completions",
        cure="read OPENAI_BASE_URL (or take base_url), and send requests there and nowhere else",
    )


def _told(session: Session, why: str) -> Mapping[str, Any]:
    """What a judge or a reader may want to know; no seconds, so that equal runs are equal."""
    told: dict[str, Any] = {"calls": len(session.calls), "contexts": session.num_contexts}
    if session.seat.tools:
        told["tools"] = tuple(
            {"name": t.name, "description": t.description, "parameters": t.parameters} for t in session.seat.tools
        )
    if session.notes:
        told["notes"] = tuple(session.notes)
    if why:
        told["agent_error"] = why
    return told


def _public(task: Task) -> dict[str, Any]:
    """What the agent gets of a task: nothing of its private part."""
    from evolvent.policies.wire import messages_to_wire

    return {"task_id": task.task_id, "question": task.question, "messages": messages_to_wire(task.prompt)}
