"""Turns a world into tasks that need a program: a question, the answer that the program gives, the state it leaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evolvent.envs.databases import Database, name_world
from evolvent.errors import BadInput
from evolvent.policies.policy import Policy
from evolvent.records import Message, Origin, Private, Reference, Task, said
from evolvent.seeds import stream
from evolvent.synthesis.difficulty import Difficulty
from evolvent.synthesis.funnel import count
from evolvent.synthesis.graph_tasks import TASKS, WORLDS, Written, says_all
from evolvent.synthesis.graph_words import MAX_FIELDS, names_in
from evolvent.synthesis.program_shapes import SHAPES, Shape, Worked, work
from evolvent.synthesis.program_writer import Coded, write_code

FAMILY = "program"
JUDGE = Reference("evolvent.rewards.state:check")
JUDGE_BY_CODE = Reference("evolvent.rewards.state:check_by_code")
PROGRAMS = "programs"


@dataclass(frozen=True)
class ProgramTasks:
    """How tasks are written: by our shapes of programs where the tools say what they do, or by a policy.

    What a policy writes runs in the best sandbox of the machine; it may repair its code `max_repairs` times.
    """

    difficulty: Difficulty = Difficulty()
    shapes: tuple[Shape, ...] = SHAPES
    policy: Policy | None = None
    num_programs: int = 12
    max_tasks: int = 4
    max_repairs: int = 3
    level: int = 1
    seed: int = 624


def write_program_tasks(world: Reference, how: ProgramTasks = ProgramTasks()) -> Written:
    """The tasks of the world that a reference names."""
    database: Database = world.load()()
    if how.policy is not None:
        return asyncio.run(_by_policy(world, database, how))
    if not says_all(database):
        raise BadInput(
            "tools that do not say what they do need a policy to write programs over them",
            where=database.name,
            cure="ProgramTasks(policy=...), or SqlTool(operation=...)",
        )
    return _by_shapes(world, database, how)


def _by_shapes(world: Reference, database: Database, how: ProgramTasks) -> Written:
    tasks: dict[str, Task] = {}
    reasons = [WORLDS]
    for number in range(how.num_programs):
        if len(tasks) == how.max_tasks:
            break
        rng = stream(how.seed, "program", database.name, number)
        made = work(database, how.shapes[number % len(how.shapes)], rng)
        why = made if isinstance(made, str) else _too_plain(made, database, how.difficulty)
        if not why and isinstance(made, Worked):
            why = "asked before" if made.question in tasks else ""
            tasks.setdefault(made.question, _task(world, database, number, made, how))
        reasons += [PROGRAMS, why or TASKS]
    return Written(tuple(tasks.values()), count(reasons))


def _too_plain(made: Worked, database: Database, hard: Difficulty) -> str:
    if names_in(made.question, database):
        return "names a tool or a table"
    if made.num_branches < hard.min_branches:
        return "too few branches"
    if made.num_tables < hard.min_tables:
        return "too few tables"
    return "too few steps ran" if len(made.solution) - 1 < hard.min_steps else ""


def _task(world: Reference, database: Database, number: int, made: Worked, how: ProgramTasks) -> Task:
    data = {**name_world(world), "state": made.state}
    answer = made.solution[-1].text
    prompt = (said("user", made.question),)
    private = Private(answer, data, made.solution)
    name = f"{FAMILY}-{database.name}-{how.seed}-{number}"
    return Task(name, FAMILY, how.level, prompt, private, JUDGE, Origin(FAMILY, (database.name,)))


async def _by_policy(world: Reference, database: Database, how: ProgramTasks) -> Written:
    from evolvent.envs.sandbox.choose import best

    assert how.policy is not None
    sandbox = best()
    tasks, reasons = [], [WORLDS]
    for number in range(how.max_tasks):
        made = await write_code(
            database, how.policy, sandbox, number, max_repairs=how.max_repairs, min_branches=how.difficulty.min_branches
        )
        why = made if isinstance(made, str) else _unfit(made, database)
        if not why and isinstance(made, Coded):
            tasks.append(_coded(world, database, number, made, how))
        reasons += [PROGRAMS, why or TASKS]
    return Written(tuple(tasks), count(reasons))


def _unfit(made: Coded, database: Database) -> str:
    if isinstance(made.answer, Mapping) and not 1 <= len(made.answer) <= MAX_FIELDS:
        return "an answer of no or too many fields"
    return "names a tool or a table" if names_in(made.question, database) else ""


def _coded(world: Reference, database: Database, number: int, made: Coded, how: ProgramTasks) -> Task:
    assert how.policy is not None
    data: dict[str, Any] = {**name_world(world), "state": made.state, "verifier": made.verifier, "program": made.source}
    answer = json.dumps(made.answer, ensure_ascii=False)
    solution = (*(Message("assistant", (call,)) for call in made.calls), said("assistant", answer))
    return Task(
        task_id=f"{FAMILY}-{database.name}-{how.seed}-{number}",
        family=FAMILY,
        level=how.level,
        prompt=(said("user", made.question),),
        private=Private(answer, data, solution),
        judge=JUDGE_BY_CODE,
        origin=Origin(f"program by {how.policy.name}", (database.name,)),
    )
