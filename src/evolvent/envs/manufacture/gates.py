"""The gate of tools: one stays where more than half of its tests pass, a world where a tool stays."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from evolvent.envs.databases import AnyTool, Database, PythonTool
from evolvent.envs.manufacture.cases import Case, faults_of

LEAST_ACCURACY = 0.5  # a tool must be above it, arXiv:2604.18292
UNTESTED = "no test"


@dataclass(frozen=True)
class Dropped:
    """A tool that did not pass, its accuracy (None: never run), and the first thing that was wrong."""

    tool: str
    why: str
    accuracy: float | None = None


@dataclass(frozen=True)
class Gated:
    """What a gate left of a world: None where no tool is left."""

    kept: Database | None
    dropped: tuple[Dropped, ...] = ()
    accuracies: Mapping[str, float] = field(default_factory=dict)

    @property
    def reasons(self) -> dict[str, int]:
        """How many tools fell for each kind of reason."""
        kinds = [dropped.why.partition(":")[0] for dropped in self.dropped]
        return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def gate(database: Database, cases: Iterable[Case], least: float = LEAST_ACCURACY) -> Gated:
    """The world with the tools that compile and whose accuracy is above `least`; one without a test does not stay."""
    of_tool: dict[str, list[Case]] = {tool.name: [] for tool in database.tools}
    for case in cases:
        if case.tool in of_tool:
            of_tool[case.tool].append(case)
    dropped: list[Dropped] = []
    accuracies: dict[str, float] = {}
    for tool in database.tools:
        found = _judged(database, tool, of_tool[tool.name], least)
        if found.accuracy is not None:
            accuracies[tool.name] = found.accuracy
        if found.why:
            dropped.append(found)
    gone = {one.tool for one in dropped}
    left = tuple(tool for tool in database.tools if tool.name not in gone)
    return Gated(replace(database, tools=left) if left else None, tuple(dropped), accuracies)


def tool_accuracy(database: Database, tool: str, cases: Iterable[Case]) -> float:
    """The share of a tool's cases that it passes, each in a fresh copy."""
    own = [case for case in cases if case.tool == tool]
    return faults_of(database, own).count("") / len(own)


def is_above(num_passed: int, num_cases: int, least: float = LEAST_ACCURACY) -> bool:
    """Whether a tool stays; exactly `least` is not enough."""
    return num_cases > 0 and num_passed > least * num_cases


def compile_fault(tool: AnyTool) -> str:
    """Why the source of a Python tool cannot be what it should be; it is not run."""
    if not isinstance(tool, PythonTool):
        return ""
    try:
        tree = ast.parse(tool.source)
    except (SyntaxError, ValueError) as error:  # a null byte is a ValueError
        return f"does not compile: {error}"
    made = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == tool.name), None)
    if made is None:
        return f"does not compile: no function {tool.name}"
    names = [a.arg for a in (*made.args.posonlyargs, *made.args.args, *made.args.kwonlyargs)]
    wanted = [p.name for p in tool.parameters]
    if names[:1] != ["db"] or sorted(names[1:]) != sorted(wanted):
        return f"does not compile: takes ({', '.join(names)}), wanted (db, {', '.join(wanted)})"
    return ""


def _judged(database: Database, tool: AnyTool, cases: list[Case], least: float) -> Dropped:
    """A tool with its accuracy, and why it falls, if it does."""
    fault = compile_fault(tool)
    if fault:
        return Dropped(tool.name, fault)
    if not cases:
        return Dropped(tool.name, UNTESTED)
    faults = faults_of(database, cases)
    num_passed = faults.count("")
    accuracy = num_passed / len(cases)
    if is_above(num_passed, len(cases), least):
        return Dropped(tool.name, "", accuracy)
    first = next(fault for fault in faults if fault)
    return Dropped(tool.name, f"fails its tests: {num_passed} of {len(cases)} passed; {first}", accuracy)
