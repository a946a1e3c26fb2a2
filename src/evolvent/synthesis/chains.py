"""Turns walks over tools into chains of calls that ran with real arguments: in a private copy, and again in another."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from evolvent.envs.databases import Database, Value
from evolvent.envs.tools import pick
from evolvent.envs.world import World
from evolvent.records import Origin, Reference, Task, Tool, ToolCall
from evolvent.synthesis.pantry import Pantry
from evolvent.synthesis.steps import REFUSED, Chain, Step, is_refused, leaves, stable
from evolvent.synthesis.tool_graph import ToolGraph

# Agent-World's released generator
NUM_DRAWS = 4  # of arguments for one call
MIN_STEPS, MIN_TOOLS = 3, 3
MIN_STABLE_FRAC = 0.6


async def execute(database: Database, graph: ToolGraph, tools: Sequence[str], rng: random.Random) -> Chain:
    """The steps of a walk that could be run, in a private copy; a tool without real arguments is left out."""
    pantry = Pantry(database, graph, rng)
    async with database.open(NOBODY, 0) as world:
        shown, before = world.tools("agent"), world.state_digest()
        steps: list[Step] = []
        for name in tools:
            step = await _tried(world, pick(shown, name), steps, pantry)
            steps += [step] if step else []
        state = world.state_digest()
    return Chain(tuple(steps), state, state != before)


async def replay(database: Database, chain: Chain) -> Chain | str:
    """The chain as a clean copy runs it again, with what both runs agree on; or why it cannot be kept."""
    steps: list[Step] = []
    async with database.open(NOBODY, 0) as world:
        for step in chain.steps:
            again = await called(world, step.tool, step.arguments)
            if is_refused(again):
                return "a step fails when played again"
            steps.append(replace(step, observation=stable(step.observation, again)))
        state = world.state_digest()
    num_before = sum(len(list(leaves(step.observation))) for step in chain.steps)
    num_left = sum(len(list(leaves(step.observation))) for step in steps)
    if num_left < MIN_STABLE_FRAC * num_before:
        return "too few values are the same when played again"
    if chain.is_changed and state != chain.state:
        return "left in another state when played again"
    return replace(chain, steps=tuple(steps))


async def rerun(database: Database, chain: Chain) -> Chain | str:
    """The chain as another world of the same tools runs it, arguments taken from what is found there; or why not."""
    steps: list[Step] = []
    async with database.open(NOBODY, 0) as world:
        before = world.state_digest()
        for step in chain.steps:
            arguments = dict(step.arguments)
            for name, source in step.sources.items():
                if source.step >= 0:
                    found = dict(leaves(steps[source.step].observation))
                    if source.path not in found:
                        return "an argument is not found there"
                    arguments[name] = found[source.path]
            observation = await called(world, step.tool, arguments)
            if is_refused(observation):
                return "a step fails there"
            steps.append(replace(step, arguments=arguments, observation=observation))
        state = world.state_digest()
    return Chain(tuple(steps), state, state != before)


def too_poor(chain: Chain, min_steps: int = MIN_STEPS, min_tools: int = MIN_TOOLS) -> str:
    """Why a chain is too short or too uniform to ask about; empty where it is neither."""
    if len(chain.steps) < min_steps:
        return "too few steps ran"
    return "too few tools" if len({step.tool for step in chain.steps}) < min_tools else ""


async def called(world: World, tool: str, arguments: Mapping[str, Value]) -> Any:
    """What a tool gives back, read as JSON where it is; REFUSED where it is an error."""
    result = await world.call("agent", ToolCall(tool, arguments))
    if result.is_error:
        return REFUSED
    try:
        return json.loads(result.text)
    except ValueError:
        return result.text


NOBODY = Task("synthesis", "synthesis", 1, (), None, Reference("evolvent.rewards.verify:exact"), Origin("synthesis"))


async def _tried(world: World, tool: Tool, steps: Sequence[Step], pantry: Pantry) -> Step | None:
    """A call with the first of a few draws of arguments that do something new."""
    for draw in range(NUM_DRAWS):
        found = pantry.arguments(tool, steps, has_options=draw > 0)
        if found is None:
            return None
        arguments = {name: value for name, (value, _) in found.items()}
        if any(step.tool == tool.name and step.arguments == arguments for step in steps):
            continue
        state = world.snapshot(), world.state_digest()
        observation = await called(world, tool.name, arguments)
        is_idle = pantry.only_writes(tool.name) and world.state_digest() == state[1]
        if not is_refused(observation) and not is_idle:
            return Step(tool.name, arguments, observation, {name: source for name, (_, source) in found.items()})
        world.restore(state[0])
    return None
