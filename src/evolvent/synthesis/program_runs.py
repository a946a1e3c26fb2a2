"""Runs a program that a policy wrote, in the sandbox, where it calls the tools of a world."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import asdict

from evolvent.envs.databases import Database
from evolvent.envs.sandbox import Sandbox
from evolvent.rewards.verifier_code import Ran, run_driver

MAX_CALLS = 64

SOLVE = r"""
import json, sqlite3
_world = json.load(open("world.json"))
_db = sqlite3.connect("world.sqlite", isolation_level=None)
_db.execute("PRAGMA foreign_keys = ON")
_tools = {tool["name"]: tool for tool in _world["tools"]}
_log = []

def call(_name, **arguments):
    if len(_log) >= _world["max_calls"]:
        raise RuntimeError("no calls left: %d is the limit" % _world["max_calls"])
    if _name not in _tools:
        raise RuntimeError("there is no tool " + repr(_name))
    tool = _tools[_name]
    given = {parameter["name"] for parameter in tool["parameters"]}
    if set(arguments) != given:
        raise RuntimeError("%s needs just the arguments %s" % (_name, ", ".join(sorted(given))))
    _db.execute("BEGIN")
    try:
        found = _python(tool, arguments) if "source" in tool else _sql(tool, arguments)
    except BaseException:
        _db.execute("ROLLBACK")
        raise
    _db.execute("COMMIT")
    found = json.loads(json.dumps(found))
    _log.append([_name, arguments, found])
    return found

def _python(tool, arguments):
    names = {"__name__": "tool"}
    exec(compile(tool["source"], "<tool>", "exec"), names)
    return names[tool["name"]](_db, **arguments)

def _sql(tool, arguments):
    rows = []
    for statement in tool["statements"]:
        cursor = _db.execute(statement["sql"], arguments)
        names = [column[0] for column in cursor.description or ()]
        rows = [dict(zip(names, row)) for row in cursor.fetchall()]
        if statement["refuses"] and not (rows if names else cursor.rowcount):
            raise RuntimeError(statement["refuses"])
    if tool["gives"] == "rows":
        return rows
    if not rows:
        return "done"
    return next(iter(rows[0].values())) if tool["gives"] == "value" else rows[0]

_names = {"__name__": "solution"}
exec(compile(open("solution.py").read(), "solution.py", "exec"), _names)
_answer = _names["solve"](call)
print("\n" + NONCE + json.dumps({"answer": _answer, "calls": _log}, allow_nan=False))
"""


def run_solution(sandbox: Sandbox, database: Database, source: str) -> Ran:
    """The answer of `solve(call)` and its calls, as {"answer": ..., "calls": [[tool, arguments, observation], ...]}."""
    tools = [asdict(tool) for tool in database.tools]
    files = {
        "world.sqlite": database.image,
        "world.json": json.dumps({"tools": tools, "max_calls": min(MAX_CALLS, database.max_calls)}).encode(),
        "solution.py": source.encode(),
    }
    ran = run_driver(sandbox, SOLVE, files)
    if not ran.fault and not isinstance(ran.value, Mapping):
        return Ran(fault="no answer that can be read")
    return ran


def count_flow(source: str) -> tuple[int, int]:
    """How many loops (comprehensions too) and branches stand in a source; (-1, -1) where it cannot be parsed."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError):
        return -1, -1
    loops = sum(isinstance(n, ast.For | ast.While | ast.comprehension) for n in nodes)
    branches = sum(
        isinstance(n, ast.If | ast.IfExp) or (isinstance(n, ast.comprehension) and bool(n.ifs)) for n in nodes
    )
    return loops, branches


def count_assertions(source: str) -> int:
    """How many assertions stand in a source; -1 where it cannot be parsed."""
    try:
        return sum(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError):
        return -1
