"""Puts an agent from outside into a plan or a setting, and tries it once before anything is spent."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from evolvent import tasks
from evolvent.cli.fit import some_tasks
from evolvent.cli.screen import Screen
from evolvent.cli.words import one_line
from evolvent.errors import BadInput
from evolvent.plans import Improve, Phase
from evolvent.policies.policy import Policy
from evolvent.records import Episode, Outcome, Sampling, Task
from evolvent.rollouts.play import Attempt, Stage, Workflow, play
from evolvent.rollouts.workflows import Demonstrate
from evolvent.serve.agent import Coached, OutsideAgent
from evolvent.serve.launch import find_runner, is_process, settled
from evolvent.tasks.source import Source

AGENT_KEYS = ("agent", "agent.timeout_s", "agent.max_at_once", "agent.answer_is")
PATIENCE_S = 0.05  # a policy waits no longer for agents that are slower than others
NUM_COLD, COLD_BATCH = 150, 16  # of agents that are started for each task: a cold start of 2,400 demonstrations


def take_agent(fields: dict[str, str]) -> OutsideAgent | None:
    """The agent that the fields name, which leave them; None where they name none."""
    own = {key: fields.pop(key) for key in AGENT_KEYS if key in fields}
    if not own:
        return None
    if "agent" not in own:
        raise BadInput(
            "this belongs to an agent, and none is named", where=next(iter(own)), cure="agent=path/to/agent.py"
        )
    if "workflow" in fields:
        raise BadInput(
            "an agent is the workflow", where="workflow", got=fields["workflow"], cure="leave one of them out"
        )
    find_runner(own["agent"])
    more: dict[str, Any] = {}
    for key, read in (("timeout_s", float), ("max_at_once", int), ("answer_is", str)):
        if f"agent.{key}" in own:
            try:
                more[key] = read(own[f"agent.{key}"])
            except ValueError:
                raise BadInput("not a number", where=f"agent.{key}", got=own[f"agent.{key}"]) from None
    return OutsideAgent(settled(own["agent"]), **more)


def with_agent(plan: Improve, agent: OutsideAgent, fields: Mapping[str, str]) -> Improve:
    """The plan played by the agent; demonstrations, where the plan has any, go through it as well.

    Without solutions there is no cold start. `fields` are those that were set by hand, and stay as they are.
    """
    source = tasks.source(plan.source, plan.seed) if isinstance(plan.source, str) else plan.source
    practice = plan.practice_workflow
    if isinstance(practice, Demonstrate):
        practice = Coached(agent, practice.direct_frac)
    cold = _coached(plan.cold_start, agent, fields) if _has_solutions(source) or "cold_start" in fields else None
    patience_s = plan.patience_s if "patience_s" in fields else PATIENCE_S
    return replace(plan, workflow=agent, practice_workflow=practice, cold_start=cold, patience_s=patience_s)


def patience_of(workflow: Workflow) -> float | None:
    """How long a policy waits for others to ask, where it is measured."""
    return PATIENCE_S if isinstance(workflow, OutsideAgent) else None


def rehearse(agent: OutsideAgent, source: Source, stage: Stage, screen: Screen) -> Episode:
    """One task, on which the policy says the worked solution: an agent that cannot even do that is told at once."""
    task, start_s = next(iter(_trained_on(source))), time.perf_counter()
    coached = replace(stage, workflow=Coached(agent), patience_s=None)
    local = all(hasattr(policy, "renderer") for policy in stage.policies.values())
    if not local or task.private is None:  # an endpoint cannot recite: what it says itself will do
        coached = replace(coached, workflow=agent)
    [episode] = play([Attempt(task, 0)], coached)
    seconds = time.perf_counter() - start_s
    trace = episode.traces[0]
    if episode.outcome is Outcome.INFRASTRUCTURE_FAILED and trace.fault is not None:
        why = trace.fault.why.replace("\n", "\n        ")  # an error in an error, in its column
        raise BadInput("the agent does not run", where=f"agent={agent.agent}", got=why)
    if trace.truncation:
        raise BadInput(
            f"the agent's first conversation is longer than the {trace.truncation} budget",
            where=f"agent={agent.agent}",
            got=f"{len(trace.tokens)} tokens for {task.task_id}",
            cure=f"budgets.{trace.truncation}_tokens=..., and a model with as long a context",
        )
    _tell(agent, episode, screen)
    if is_process(agent.agent):
        screen.console.print(
            f"           started anew for each attempt, which took {seconds:.1f} s; a function (FILE.py:NAME) is not",
            markup=False,
        )
    return episode


def _tell(agent: OutsideAgent, episode: Episode, screen: Screen) -> None:
    info = episode.info
    words = f"{info.get('calls', 0)} calls for {one_line(episode.task.question)!r}, answer {one_line(episode.answer)!r}"
    screen.console.print(f"[bold]agent      [/bold]{agent.agent}", soft_wrap=True)
    screen.console.print(f"           tried with the worked solution: {words}", markup=False)
    for note in info.get("notes", ()):
        screen.console.print("           " + note.replace("\n", "\n           "), markup=False)
    if why := info.get("agent_error"):
        screen.console.print(f"           it ended with an error: {one_line(why, 200)}", markup=False)
    if not episode.answer:
        screen.console.print("           it gave no answer: every attempt like this one scores 0", markup=False)


def _coached(cold: Phase | None, agent: OutsideAgent, fields: Mapping[str, str]) -> Phase | None:
    if cold is None or not isinstance(cold.workflow, Demonstrate):
        return cold
    coached = replace(cold, workflow=Coached(agent, cold.workflow.direct_frac))
    if not is_process(agent.agent) or any(key.startswith("cold_start") for key in fields):
        return coached
    return replace(
        coached, num_steps=min(cold.num_steps, NUM_COLD), tasks_per_step=min(cold.tasks_per_step, COLD_BATCH)
    )


def _has_solutions(source: Source) -> bool:
    first = next(iter(_trained_on(source)), None)
    return first is not None and first.private is not None and bool(first.private.solution or first.private.answer)


def _trained_on(source: Source) -> Iterable[Task]:
    return (task for task in some_tasks(source, 1) if task.split == "train")


def stage_of(plan: Improve, policies: Mapping[str, Policy]) -> Stage:
    """The stage of a plan, for one try."""
    how = Sampling(plan.budgets.turn_tokens, plan.temperature, seed=plan.seed)
    return Stage(plan.workflow, plan.world, policies, plan.seats, how, plan.budgets)
