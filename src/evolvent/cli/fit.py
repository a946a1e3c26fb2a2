"""Looks at a plan's tasks before anything is written: whether they can be read, and whether they fit the model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

from evolvent import tasks
from evolvent.envs.world import WorldPlan
from evolvent.errors import BadInput
from evolvent.plans import Improve, check_contexts
from evolvent.policies.policy import Policy
from evolvent.records import Task, Tool
from evolvent.rollouts.seat import Budgets
from evolvent.tasks.source import Source

NUM_OF_FILE, NUM_MADE = 2000, 4  # tasks looked at in each cell


def check_source(plan: Improve) -> Source:
    """The source of a plan, once a task of each (family, level) and split was read; a file is read whole."""
    source: Source = tasks.source(plan.source, plan.seed) if isinstance(plan.source, str) else plan.source
    counts = dict.fromkeys(("train", "test"), 0)
    for task in some_tasks(source, 1):
        counts[task.split] += 1
    for split, num in counts.items():
        if not num:
            raise BadInput(
                f"the source has no task to {'practise' if split == 'train' else 'measure'}",
                where=f"source={plan.source}",
                got=f"0 tasks in the split {split}",
                wanted="tasks in both splits",
                cure="more rows, or a column `split` with train and test",
            )
    return source


def check_fit(plan: Improve, policies: Mapping[str, Policy], source: Source) -> None:
    """BadInput where a prompt leaves no room for an answer: found here, and not in the middle of the run."""
    check_contexts(plan, policies)
    for seat, name in plan.seats.items():
        renderer: Any = getattr(policies[name], "renderer", None)
        if renderer is None:
            continue
        seen = list(some_tasks(source, NUM_MADE))
        tools = offered_tools(plan.world, seen[0], seat)
        lengths = [len(renderer.open(task.prompt, tools)) for task in seen]
        long = [task.task_id for task, n in zip(seen, lengths, strict=True) if n >= plan.budgets.context_tokens]
        if long:
            raise BadInput(
                "every prompt is longer than the context"
                if len(long) == len(seen)
                else "prompts are longer than the context",
                where=f"{', '.join(long[:3])}{' and others' if len(long) > 3 else ''}",
                got=f"{len(long)} of {len(seen)} prompts looked at, the longest of {max(lengths)} tokens",
                wanted=f"fewer than budgets.context_tokens = {plan.budgets.context_tokens}",
                cure=f"budgets.context_tokens={2 * max(lengths)} with a model that can read as much (for a new one "
                f"model.max_context={2 * max(lengths)}), or leave these tasks out",
            )


def check_context(name: str, policy: Policy, budgets: Budgets) -> None:
    """BadInput where a trace could grow longer than what the model can read."""
    longest = getattr(policy, "max_context", None)
    if longest is not None and budgets.context_tokens > longest:
        raise BadInput(
            "a trace could be longer than the context of the model",
            where="budgets.context_tokens",
            got=budgets.context_tokens,
            wanted=f"at most {longest} for policy {name!r}",
            cure=f"budgets.context_tokens={longest}, or a model with a longer context",
        )


def some_tasks(source: Source, num_made: int) -> Iterator[Task]:
    """The first tasks of each (family, level) and split: `num_made` where they are made, more where they are rows."""
    for family in source.families:
        for level in source.levels(family):
            for split in ("train", "test"):
                held = source.num_tasks(family, level, split)
                for index in range(num_made if held is None else min(held, NUM_OF_FILE if num_made > 1 else 1)):
                    yield source.task(family, level, index, split)


def offered_tools(world: WorldPlan, task: Task, seat: str) -> tuple[Tool, ...]:
    """The tools that a seat may call at a task."""
    return asyncio.run(_tools(world, task, seat))


async def _tools(plan: WorldPlan, task: Task, seat: str) -> tuple[Tool, ...]:
    async with plan.open(task, 0) as world:
        return world.tools(seat)
