"""The tool APIs of the Berkeley Function Calling Leaderboard as worlds: files, tickets, trading, travel, and more.

They come from the package bfcl-eval, which pulls in much more than they need: `pip install --no-deps bfcl-eval`. They
are somebody else's code and run inside our process, not in the sandbox; the eight classes on offer touch nothing but
their own memory as of release 2026.3.23. Each episode has instances of its own.
"""

from __future__ import annotations

import copy
import decimal
import functools
import hashlib
import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolvent.envs.digest import digest_of
from evolvent.envs.one_seat import OneSeat
from evolvent.envs.tools import pick, validate
from evolvent.errors import BadInput, MissingExtra, ToolError, nearest
from evolvent.records import Task, Tool

KEY = "bfcl"  # where a task keeps its classes and their first state, in its private data
CURE = "pip install --no-deps bfcl-eval"
CODE = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code"
CLASSES = {
    "GorillaFileSystem": "gorilla_file_system",
    "MathAPI": "math_api",
    "MessageAPI": "message_api",
    "TicketAPI": "ticket_api",
    "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking",
    "TwitterAPI": "posting_api",
    "VehicleControlAPI": "vehicle_control",
}
KINDS = {"dict": "object", "float": "number", "tuple": "array", "any": ""}


@dataclass(frozen=True)
class Bfcl:
    """Some of the tool APIs by class name; a task that names its own (synthesis.bfcl_tasks) is played with those."""

    classes: tuple[str, ...] = ()
    max_calls: int = 60  # the longest reference of a multi-turn task has 20
    max_bytes: int = 4096

    def open(self, task: Task, seed: int) -> OpenBfcl:
        """Fresh instances for one episode."""
        named = task.private.data.get(KEY) if task.private else None
        asked = {"config": {}, "is_long": False, "without": (), "classes": self.classes, **(named or {})}
        if not asked["classes"]:
            raise BadInput("neither the world nor the task names a class", where=task.task_id, wanted=list(CLASSES))
        return OpenBfcl(self, asked)


class OpenBfcl(OneSeat):
    """The live instances of one episode."""

    def __init__(self, plan: Bfcl, asked: Mapping[str, Any]) -> None:
        super().__init__(plan.max_calls, plan.max_bytes)
        self._asked = asked
        self._owner: dict[str, str] = {}
        self._tools: list[Tool] = []
        for name in asked["classes"]:
            for tool in tools_of(name):
                if tool.name not in asked["without"] and self._owner.setdefault(tool.name, name) == name:
                    self._tools.append(tool)
        self._start()

    @property
    def offered(self) -> tuple[Tool, ...]:
        """The functions of all classes, without those that the task leaves out."""
        return tuple(self._tools)

    async def run(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Call a function."""
        validate(pick(self._tools, name), arguments)
        return self.execute(name, arguments)

    def execute(self, name: str, arguments: Mapping[str, Any]) -> str:
        """The words that the leaderboard's own runner makes of a function's answer or error."""
        self._made.append((name, dict(arguments)))
        # one of the functions sets the precision of decimal numbers, which belongs to the whole thread
        with decimal.localcontext():
            try:
                answer = self.function(name)(**copy.deepcopy(dict(arguments)))
            except Exception as error:
                self._results.append(f"Error during execution: {error}")
                raise ToolError(f"{type(error).__name__}: {error}") from error
        self._results.append(as_words(answer))
        return self._results[-1]

    def function(self, name: str) -> Callable[..., Any]:
        """The function behind a tool."""
        return getattr(self.instances[self._owner[name]], name)  # type: ignore[no-any-return]

    @property
    def last_result(self) -> str:
        """The words of the last result or error."""
        return self._results[-1]

    def evidence(self) -> dict[str, Any]:
        """The digest of the final state, and one of every result so far."""
        return {"state": self.public_digest(), "results": [short_digest(words) for words in self._results]}

    def public_digest(self) -> str:
        """SHA-256 of what the leaderboard compares: all attributes without an underscore."""
        return digest_of(self.instances, lambda name: not name.startswith("_"))

    def state_digest(self) -> str:
        """SHA-256 of the whole state but for the times at which files were written."""
        return digest_of([self.instances, self.num_calls], lambda name: name != "_last_modified")

    def snapshot(self) -> bytes:
        """The calls so far."""
        return json.dumps({"num_calls": self.num_calls, "made": self._made}).encode()

    def restore(self, state: bytes) -> None:
        """Start again and make the same calls: the classes draw from generators with fixed seeds."""
        found = json.loads(state)
        self._start()
        for name, arguments in found["made"]:
            try:
                self.execute(name, arguments)
            except ToolError:
                continue
        self.num_calls = found["num_calls"]

    def _start(self) -> None:
        self._made: list[tuple[str, dict[str, Any]]] = []
        self._results: list[str] = []
        self.instances = {name: self._instance(name) for name in self._asked["classes"]}

    def _instance(self, name: str) -> Any:
        made = getattr(load(CLASSES[name]), name)()
        if hasattr(made, "_load_scenario"):
            # a task that was written down comes back with tuples, and the classes add to their lists
            config = json.loads(json.dumps(self._asked["config"].get(name, {})))
            made._load_scenario(config, long_context=self._asked["is_long"])
        return made


@functools.cache
def tools_of(name: str) -> tuple[Tool, ...]:
    """The functions of a class as the leaderboard describes them."""
    if name not in CLASSES:
        raise BadInput(
            f"no tool API is called {name!r}", where="Bfcl.classes", got=name, cure=nearest(name, [*CLASSES])
        )
    path = folder() / "data" / "multi_turn_func_doc" / f"{CLASSES[name]}.json"
    told = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return tuple(Tool(one["name"], one["description"], _as_schema(one["parameters"])) for one in told)


def folder() -> Path:
    """Where bfcl-eval lies, or the line that installs it."""
    try:
        return Path(next(iter(importlib.import_module("bfcl_eval").__path__)))
    except ImportError as error:
        raise MissingExtra(
            "bfcl-eval is not installed", where="evolvent.envs.bfcl", got=str(error), cure=CURE
        ) from error


def load(module: str) -> Any:
    """A module of tool APIs."""
    folder()
    return importlib.import_module(f"{CODE}.{module}")


def as_words(answer: object) -> str:
    """An answer as text: JSON for a dictionary that has one."""
    if isinstance(answer, dict):
        try:
            return json.dumps(answer)
        except TypeError:
            return str(answer)
    return str(answer)


def short_digest(words: str) -> str:
    """Enough of a SHA-256 to tell results apart."""
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def _as_schema(told: Any) -> Any:
    """The leaderboard's types in the words of JSON schema."""
    if isinstance(told, list):
        return [_as_schema(part) for part in told]
    if not isinstance(told, dict):
        return told
    found = {key: _as_schema(part) for key, part in told.items()}
    if isinstance(told.get("type"), str):
        found["type"] = KINDS.get(told["type"], told["type"])
    return found
