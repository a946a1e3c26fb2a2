"""Turns a world into tasks from walks over its tools: run, run again, asked in plain words, judged by a rubric."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evolvent.codec import from_json, to_json
from evolvent.envs.databases import Database, SqlTool, name_world
from evolvent.errors import BadInput
from evolvent.policies.policy import Policy
from evolvent.records import Message, Origin, Private, Reference, Task, Text, ToolCall, said
from evolvent.rewards.rubric import rubric_for
from evolvent.seeds import stream
from evolvent.synthesis.chains import execute, replay, rerun, too_poor
from evolvent.synthesis.difficulty import Difficulty
from evolvent.synthesis.funnel import Funnel, count
from evolvent.synthesis.graph_words import draft, names_in
from evolvent.synthesis.graph_writer import Worded, word
from evolvent.synthesis.steps import Chain
from evolvent.synthesis.tool_analysis import analyse
from evolvent.synthesis.tool_graph import Form, ToolGraph, code_form, graph_of, walk

SEED, NUM_WALKS, MAX_CHAINS = 624, 40, 4  # Agent-World's released generator
FAMILY = "graph"
JUDGE = Reference("evolvent.rewards.rubric:average")
WALKS, CHAINS, TASKS, WORLDS = "walks", "chains kept", "tasks", "worlds"


@dataclass(frozen=True)
class GraphTasks:
    """How tasks are written: who analyses the tools and writes the words (None: the tools' own data and a template).

    `form` is how walks choose, `code_form` or `paper_form`.
    """

    difficulty: Difficulty = Difficulty()
    form: Form = code_form
    policy: Policy | None = None
    num_walks: int = NUM_WALKS
    max_chains: int = MAX_CHAINS
    level: int = 1
    seed: int = SEED


@dataclass(frozen=True)
class Written:
    """Tasks, and the funnel that they came through; the funnel of several worlds is the sum of theirs."""

    tasks: tuple[Task, ...]
    funnel: Funnel

    def __add__(self, other: Written) -> Written:
        """Both together."""
        return Written(self.tasks + other.tasks, self.funnel + other.funnel)


def write_graph_tasks(world: Reference, how: GraphTasks = GraphTasks()) -> Written:
    """The tasks of the world that a reference names."""
    return asyncio.run(write(world, how))


async def write(world: Reference, how: GraphTasks) -> Written:
    """The same from inside a running event loop."""
    database: Database = world.load()()
    graph = await _graph(database, how)
    chains, met = await find_chains(database, graph, how)
    tasks, reasons = [], [WORLDS, *met]
    for number, chain in enumerate(chains):
        made = await _worded(database, chain, how, number)
        if isinstance(made, str):
            reasons.append(made)
        else:
            tasks.append(_task(world, database, chain, made, number, how))
            reasons.append(TASKS)
    return Written(tuple(tasks), count(reasons))


async def find_chains(database: Database, graph: ToolGraph, how: GraphTasks) -> tuple[list[Chain], list[str]]:
    """Chains that ran twice alike, each once, and what became of every walk."""
    kept: dict[str, Chain] = {}
    met: list[str] = []
    for attempt in range(how.num_walks):
        if len(kept) == how.max_chains:
            break
        rng = stream(how.seed, "walk", database.name, attempt)
        met.append(WALKS)
        found = await _chain(database, graph, how, rng)
        if isinstance(found, str):
            met.append(found)
        elif found.key in kept:
            met.append("known chain")
        else:
            kept[found.key] = found
            met.append(CHAINS)
    return list(kept.values()), met


def says_all(database: Database) -> bool:
    """Whether every tool says as data what it does."""
    return all(isinstance(tool, SqlTool) and tool.operation is not None for tool in database.tools)


def regenerate(database: Database, task: Task) -> Mapping[str, Any] | str:
    """The answer that a task's chain of calls gives in a world as it is now, or why it gives none."""
    assert task.private is not None
    chain = from_json(task.private.data["chain"])
    found = asyncio.run(rerun(database, chain))
    if isinstance(found, str):
        return found
    made = draft(database, found, _words_of(task.private.data["words"]))
    return made if isinstance(made, str) else made.wanted


async def _graph(database: Database, how: GraphTasks) -> ToolGraph:
    if says_all(database):
        return graph_of(database)
    if how.policy is None:
        raise BadInput(
            "tools that do not say what they do need a policy to analyse them",
            where=database.name,
            cure="GraphTasks(policy=...), or SqlTool(operation=...)",
        )
    return await analyse(database, how.policy)


async def _chain(database: Database, graph: ToolGraph, how: GraphTasks, rng: random.Random) -> Chain | str:
    hard = how.difficulty
    tools = walk(graph, rng, form=how.form, weights=hard.weights, shortest=hard.shortest, longest=hard.longest)
    if not tools:
        return "nowhere to start"
    chain = await execute(database, graph, tools, rng)
    return too_poor(chain, hard.min_steps, hard.min_tools) or await replay(database, chain)


async def _worded(database: Database, chain: Chain, how: GraphTasks, number: int) -> Worded | str:
    """Question, answer and rubric by the policy, else by template; or why there are none."""
    if how.policy is not None:
        made = await word(database, chain, how.policy, number, hides_workflow=how.difficulty.hides_workflow)
    else:
        rng = _words_of([how.seed, database.name, number])
        plain = draft(database, chain, rng, hides_workflow=how.difficulty.hides_workflow)
        if isinstance(plain, str):
            return plain
        rubric = rubric_for(plain.wanted, state=chain.state, is_changed=chain.is_changed)
        made = Worded(plain.question, plain.wanted, rubric)
    if isinstance(made, str):
        return made
    return "names a tool or a table" if names_in(made.question, database) else made


def _words_of(names: Sequence[Any]) -> random.Random:
    seed, *rest = names
    return stream(int(seed), "words", *rest)


def _task(world: Reference, database: Database, chain: Chain, made: Worded, number: int, how: GraphTasks) -> Task:
    answer = json.dumps(dict(made.wanted), ensure_ascii=False)
    data = {
        **name_world(world),
        "rubric": to_json(made.rubric),
        "chain": to_json(chain),
        "words": (how.seed, database.name, number),
    }
    origin = Origin("graph" if how.policy is None else f"graph, words by {how.policy.name}", (database.name,))
    return Task(
        task_id=f"{FAMILY}-{database.name}-{how.seed}-{number}",
        family=FAMILY,
        level=how.level,
        prompt=(said("user", made.question),),
        private=Private(answer, data, (*_calls(database, chain), said("assistant", answer))),
        judge=JUDGE,
        origin=origin,
    )


def _calls(database: Database, chain: Chain) -> list[Message]:
    """The chain as an agent would play it, each call thought of in the words that describe its tool."""
    return [
        Message("assistant", (Text(database.tool(step.tool).description), ToolCall(step.tool, dict(step.arguments))))
        for step in chain.steps
    ]
