"""Lets any policy write a hard question, a program that solves it and a verifier, and repair them until they run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evolvent.envs.databases import Database
from evolvent.envs.databases.records import as_shown
from evolvent.envs.sandbox import Sandbox
from evolvent.envs.world import evidence_of
from evolvent.policies.policy import Policy
from evolvent.records import Sampling, ToolCall
from evolvent.rewards.verifier_code import run_verifier
from evolvent.synthesis.asking import ask, last_block
from evolvent.synthesis.chains import NOBODY, called
from evolvent.synthesis.program_runs import count_assertions, count_flow, run_solution
from evolvent.synthesis.steps import REFUSED

HOW = Sampling(max_tokens=4000, temperature=0.7)
MIN_ASSERTIONS = 2
NUM_SHOWN = 3  # rows of each table

QUESTION = """A service keeps these tables (column names, then some rows):
{tables}

and has these tools:
{tools}

Write a hard request to the service that needs loops, conditions and sums over several calls. Use no names of tools \
or tables ({names}). It asks for at most five named fields and has one answer.
Reply with the request in one line after QUESTION: and then a Python program in one fenced block that solves it:
def solve(call): ...
where call(name, **arguments) calls a tool and returns its reply, and solve returns the fields as a dict."""

REPAIR = """{before}

Your program was:
```python
{source}
```
It failed: {fault}
Reply with the repaired program alone, in one fenced block."""

VERIFIER = """A request: {question}
The right answer is {answer}. It leaves these changes of rows in the database: {changes}

Write def verify(answer, expected, changes) in one fenced block of Python. `answer` is what an agent said (a dict, or \
text), `expected` the right answer, `changes` the rows that are gone and new by table after its work. It asserts, with \
several assertions, that the answer is right and that the changes are those that were asked for, and no others."""

REPAIR_VERIFIER = """{before}

Your verifier was:
```python
{source}
```
It is wrong: {fault}
Reply with the repaired verifier alone, in one fenced block."""


@dataclass(frozen=True)
class Coded:
    """A question, its program and verifier, the answer, the calls, and the state that they leave."""

    question: str
    source: str
    verifier: str
    answer: Any
    calls: tuple[ToolCall, ...]
    state: str
    changes: Mapping[str, Any]


async def write_code(
    database: Database, policy: Policy, sandbox: Sandbox, number: int, *, max_repairs: int, min_branches: int = 0
) -> Coded | str:
    """What a policy makes of a world; or why it is dropped."""
    author = _Author(policy, ("program", database.name, number), max_repairs)
    asked = _asked(database)
    reply = await author.say(asked)
    found = re.search(r"QUESTION:\s*(.+)", reply)
    if not found:
        return "no question"
    question, source = found[1].strip(), last_block(reply)
    made = await _solved(database, sandbox, source, min_branches)
    for repair in range(max_repairs):
        if isinstance(made, str):
            words = REPAIR.format(before=asked, source=source, fault=made)
            source = last_block(await author.say(words, "repair", repair))
            made = await _solved(database, sandbox, source, min_branches)
    if isinstance(made, str):
        return "a program that does not run"
    answer, calls, left = made
    task = VERIFIER.format(question=question, answer=json.dumps(answer), changes=json.dumps(left["changes"]))
    verifier = await _verifier(author, sandbox, task, answer, left["changes"])
    if verifier is None:
        return "a verifier that does not tell right from wrong"
    return Coded(question, source, verifier, answer, calls, left["state"], left["changes"])


@dataclass(frozen=True)
class _Author:
    """A policy at work on one program."""

    policy: Policy
    names: tuple[str | int, ...]
    max_repairs: int

    async def say(self, words: str, *more: str | int) -> str:
        return (await ask(self.policy, [words], HOW, *self.names, *more))[0]


async def _solved(
    database: Database, sandbox: Sandbox, source: str, min_branches: int
) -> tuple[Any, tuple[ToolCall, ...], Mapping[str, Any]] | str:
    """The answer, the calls and how they leave the world itself; or what is wrong with a program."""
    loops, branches = count_flow(source)
    if loops + branches < 1 or branches < min_branches:
        return f"it needs a loop or a condition, and {min_branches} conditions at least"
    ran = run_solution(sandbox, database, source)
    if ran.fault:
        return ran.fault
    answer, calls = ran.value.get("answer"), ran.value.get("calls") or []
    if answer in (None, {}, [], ""):
        return "solve returned nothing"
    if not calls:
        return "no tool was called"
    async with database.open(NOBODY, 0) as world:
        for tool, arguments, observation in calls:
            again = await called(world, tool, arguments)
            if again is REFUSED or again != observation:
                return f"call({tool!r}, ...) gives something else when it is made again"
        left = await evidence_of(world)
    return answer, tuple(ToolCall(tool, arguments) for tool, arguments, _ in calls), left


async def _verifier(
    author: _Author, sandbox: Sandbox, task: str, answer: Any, changes: Mapping[str, Any]
) -> str | None:
    """A verifier that accepts what is right and refuses what is not; None where repairs did not make it one."""
    source = last_block(await author.say(task, "verifier"))
    for repair in range(author.max_repairs + 1):
        fault = _fault_of(sandbox, source, answer, changes)
        if not fault:
            return source
        if repair < author.max_repairs:
            words = REPAIR_VERIFIER.format(before=task, source=source, fault=fault)
            source = last_block(await author.say(words, "repair verifier", repair))
    return None


def _fault_of(sandbox: Sandbox, source: str, answer: Any, changes: Mapping[str, Any]) -> str:
    """What is wrong with a verifier: it must accept the right end, and refuse wrong answers and wrong states."""
    if count_assertions(source) < MIN_ASSERTIONS:
        return f"it needs {MIN_ASSERTIONS} assertions at least"
    ran = run_verifier(sandbox, source, answer, answer, changes)
    if ran.fault or ran.value:
        return ran.fault or f"it refuses the right answer: {ran.value}"
    wrongs: tuple[Any, ...] = ("", "I do not know", {}, _other(answer))
    for wrong in wrongs:
        ran = run_verifier(sandbox, source, wrong, answer, changes)
        if not ran.fault and not ran.value:
            return f"it accepts the wrong answer {json.dumps(wrong)}"
    spoiled: Mapping[str, Any] = {} if changes else {"some_table": {"gone": [["x"]], "new": []}}
    ran = run_verifier(sandbox, source, answer, answer, spoiled)
    return "" if ran.fault or ran.value else f"it accepts the wrong changes {json.dumps(spoiled)}"


def _other(answer: Any) -> Any:
    """Another answer of the same form."""
    if isinstance(answer, dict):
        return {name: _other(value) for name, value in answer.items()}
    if isinstance(answer, list):
        return [*answer, "more"]
    return answer + 1 if isinstance(answer, int | float) and not isinstance(answer, bool) else f"not {answer}"


def _asked(database: Database) -> str:
    tables = "\n".join(
        f"{t.name}({', '.join(c.name for c in t.columns)}): {json.dumps([list(r) for r in t.rows[:NUM_SHOWN]])}"
        for t in database.tables
    )
    tools = "\n".join(
        json.dumps({"name": s.name, "description": s.description, "parameters": s.parameters["properties"]})
        for s in map(as_shown, database.tools)
    )
    names = ", ".join([t.name for t in database.tools] + [t.name for t in database.tables])
    return QUESTION.format(tables=tables, tools=tools, names=names)
