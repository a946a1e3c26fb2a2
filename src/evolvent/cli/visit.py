"""A person in a world: shows the question and the tools, reads calls and answers, shows what comes of them."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from evolvent.cli.scenes import Scene
from evolvent.cli.screen import Screen
from evolvent.cli.words import printable
from evolvent.envs.one_seat import shown
from evolvent.envs.world import World, evidence_of
from evolvent.errors import ToolError, nearest
from evolvent.records import Task, Tool, ToolCall, said
from evolvent.rewards.outcome import judge_visit
from evolvent.rollouts.conversation import FOLLOW_UPS
from evolvent.seeds import derive

HINT = "Call with NAME {json}, NAME arg=value or NAME value; anything else is your answer. Ctrl-D ends."


def visit(scene: Scene, first: int, seed: int, screen: Screen) -> dict[str, Any]:
    """Task after task until the input ends; the answer holds all that was said."""
    lines = _lines(screen)
    made: list[dict[str, Any]] = []
    is_over = False
    with asyncio.Runner() as runner:
        while not is_over:
            if made and not sys.stdin.isatty():  # a pipe that has run dry needs no further task
                if (line := next(lines, None)) is None:
                    break
                lines = itertools.chain([line], lines)
            table = _Visit(scene, scene.task(first + len(made)), screen, runner)
            is_over = table.play(lines, seed) or scene.source is None
            made += [table.as_json()] if table.said else []
    return {"world": scene.name, "visits": made}


class _Visit:
    """One task in a fresh world."""

    def __init__(self, scene: Scene, task: Task, screen: Screen, runner: asyncio.Runner) -> None:
        self.scene, self.task, self.screen, self.runner = scene, task, screen, runner
        self.wishes = list(task.private.data.get(FOLLOW_UPS, ())) if task.private else []
        self.said: list[dict[str, Any]] = []
        self.judged: dict[str, Any] = {}
        self.answer = ""

    def play(self, lines: Iterator[str], seed: int) -> bool:
        """Until it is answered: False; or until there are no more lines: True."""
        world = self.scene.world.open(self.task, derive(seed, self.task.task_id, 0))
        self.runner.run(_enter(world))
        try:
            self._show(world)
            return not any(line and self._heard(world, line) for line in lines)
        finally:
            self.judged.setdefault("evidence", dict(self.runner.run(evidence_of(world))))
            self.runner.run(world.__aexit__(None, None, None))

    def as_json(self) -> dict[str, Any]:
        """The whole visit."""
        start = {"task_id": self.task.task_id, "question": self.task.question, "said": self.said}
        return {**start, "answer": self.answer, **self.judged}

    def _show(self, world: World) -> None:
        if self.task.question:
            self._print(f"\n[bold]task[/bold]   {_safe(self.task.question)}")
        seen = shown(world.observe(world.seats[0]))
        if seen and seen not in self.task.question:
            self._print(f"[bold]seen[/bold]   {_safe(_below(seen))}")
        self._show_tools(world)
        self._print(f"[dim]{_safe(HINT)}[/dim]")

    def _show_tools(self, world: World) -> None:
        for tool in world.tools(world.seats[0]):
            self._print(f"[cyan]tool[/cyan]   {_safe(_signature(tool))}")
            if tool.description:
                self._print(f"       [dim]{_safe(tool.description)}[/dim]")
            for name, told in tool.parameters.get("properties", {}).items():
                if told.get("description"):
                    self._print(f"       [dim]{_safe(name)}: {_safe(told['description'])}[/dim]")

    def _heard(self, world: World, line: str) -> bool:
        """Carry out a line; whether the task is over."""
        seat, tools = world.seats[0], world.tools(world.seats[0])
        if line == "tools":
            self._show_tools(world)
            return False
        try:
            call = read_call(line, tools)
        except ToolError as error:
            self._print(f"[red]{_safe(error.what)}[/red]" + (f"; {_safe(error.cure)}" if error.cure else ""))
            self.said.append({"line": line, "error": error.what})
            return False
        if call is None:
            return self._answered(world, line.removeprefix("answer ").strip())
        result = self.runner.run(world.call(seat, call))
        style = "red" if result.is_error else "cyan"
        self._print(f"[{style}]heard[/{style}]  {_safe(_below(result.text))}")
        self.said.append(
            {
                "call": call.name,
                "arguments": dict(call.arguments or {}),
                "text": result.text,
                "is_error": result.is_error,
            }
        )
        return False

    def _answered(self, world: World, words: str) -> bool:
        if not world.tools(world.seats[0]):
            return self._stepped(world, words)
        self.answer = words
        if self.wishes:
            wish = str(self.wishes.pop(0))
            self.said.append({"answer": words, "wish": wish})
            self._print(f"[bold]task[/bold]   {_safe(wish)}")
            return False
        self.said.append({"answer": words})
        if self.task.private is None:
            self._print("[dim]nobody judges here[/dim]")
            return True
        evidence = dict(self.runner.run(evidence_of(world)))
        score = judge_visit(self.task, words, evidence)
        self.judged = {"score": None if score is None else score.value, "why": "" if score is None else score.why}
        self.judged["evidence"] = evidence
        shown_score = "not judged" if score is None else f"score {score.value:g}"
        self._print(f"[bold]{shown_score}[/bold]  {_safe(self.judged['why'])}")
        return True

    def _stepped(self, world: World, words: str) -> bool:
        """An action in words, for whoever is to move: a person plays all seats."""
        seat = world.to_move[0]
        made = self.runner.run(world.step({seat: said("assistant", words)}))
        step = made.get(seat) or next(iter(made.values()))
        gain = f"  {dict(step.reward_components)}" if step.reward_components else ""
        self._print(f"[cyan]{seat}[/cyan]  {_safe(shown(step.observation) + gain)}")
        self.said.append({"seat": seat, "action": words, "text": shown(step.observation), "done": step.done})
        return step.done or step.truncated

    def _print(self, words: str) -> None:
        self.screen.console.print(words, soft_wrap=True)


async def _enter(world: World) -> None:
    await world.__aenter__()


def read_call(line: str, tools: Sequence[Tool]) -> ToolCall | None:
    """The call that a line makes; None where it makes none, a ToolError where it tries in vain."""
    name, _, rest = line.partition(" ")
    rest = rest.strip()
    tool = next((tool for tool in tools if tool.name == name), None)
    if tool is None:
        if re.match(r"\{.*\}$|\w+=\S", rest) and tools:
            raise ToolError(f"there is no tool {name!r}", cure=nearest(name, [tool.name for tool in tools]))
        return _by_value(line, tools)
    if rest.startswith("{"):
        try:
            return ToolCall(name, json.loads(rest), rest)
        except ValueError as error:
            raise ToolError(f"cannot read {rest!r}: {error}", cure=f"{name} {json.dumps(_example(tool))}") from error
    return ToolCall(name, _arguments(tool, rest), rest)


def _arguments(tool: Tool, rest: str) -> dict[str, Any]:
    """`arg=value` words, or one bare value for a tool with one parameter."""
    properties = tool.parameters.get("properties", {})
    is_named = re.match(r"(\w+)=", rest)
    if rest and len(properties) == 1 and not (is_named and is_named[1] in properties):
        [only] = properties
        return {only: _value(rest, properties[only])}
    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise ToolError(f"cannot read {rest!r}: {error}") from error
    if odd := [word for word in words if "=" not in word]:
        raise ToolError(f"{odd[0]!r} is no arg=value", cure=f"{tool.name} {json.dumps(_example(tool))}")
    pairs = (word.split("=", 1) for word in words)
    return {name: _value(text, properties.get(name, {})) for name, text in pairs}


def _value(text: str, schema: Any) -> Any:
    """A text where a text is wanted, else what JSON makes of it."""
    kinds = {one.get("type", "") for one in schema.get("anyOf", (schema,))}
    if kinds == {"string"}:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _by_value(line: str, tools: Sequence[Tool]) -> ToolCall | None:
    """A bare value is a call where there is one tool with one parameter that lists it."""
    if len(tools) != 1 or len(tools[0].parameters.get("properties", {})) != 1:
        return None
    [(name, schema)] = tools[0].parameters["properties"].items()
    listed = [value for one in schema.get("anyOf", (schema,)) for value in one.get("enum", ())]
    return ToolCall(tools[0].name, {name: line}, line) if line in listed else None


def _signature(tool: Tool) -> str:
    """A tool as a person reads it: name(parameter: kind, ...), optional ones with their default."""
    needed = tool.parameters.get("required", ())
    parts = [
        f"{name}: {_kind(schema)}" + ("" if name in needed else f" = {json.dumps(schema.get('default'))}")
        for name, schema in tool.parameters.get("properties", {}).items()
    ]
    return f"{tool.name}({', '.join(parts)})"


def _kind(schema: Any) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "enum" in schema:
        return "|".join(map(str, schema["enum"]))
    return str(schema.get("type", "value"))


def _example(tool: Tool) -> dict[str, str]:
    return {name: _kind(schema) for name, schema in tool.parameters.get("properties", {}).items()}


def _lines(screen: Screen) -> Iterator[str]:
    """The lines of the input; a person gets a prompt and may edit, and Ctrl-C ends as Ctrl-D does."""
    if not sys.stdin.isatty():
        yield from (line.strip() for line in sys.stdin)
        return
    while True:
        sys.stderr.write("> ")
        sys.stderr.flush()
        try:
            yield input().strip()
        except (EOFError, KeyboardInterrupt):
            screen.console.print()
            return


def _below(text: str) -> str:
    """Several lines begin on a line of their own, so that a map is not torn."""
    return f"\n{text}" if "\n" in text else text


def _safe(text: str) -> str:
    from rich.markup import escape

    return escape(printable(text))
