"""`evolvent play`: ask a policy, and see every word, every tool call, and what came back."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from evolvent.cli.chosen import Asked, choose_tasks, read_asked
from evolvent.cli.main import Command
from evolvent.cli.screen import Screen
from evolvent.cli.subject import Setting, Subject, build_policies, find_subject, settle
from evolvent.cli.ticks import Watched
from evolvent.cli.words import one_line, printable
from evolvent.errors import BadInput, EvolventError
from evolvent.policies.policy import Policy
from evolvent.records import Episode, Origin, Reference, Sampling, Task, ToolCall, ToolResult, Turn, said
from evolvent.rewards import judge_episodes, lift
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.seeds import derive

NUM_DRAWN = 3
UNJUDGED = Reference("evolvent.rewards.verify:exact")


def main(command: Command) -> dict[str, Any]:
    """Ask once, draw held-out tasks, or ask as long as there are questions; the answer holds every exchange."""
    if not command.words:
        raise BadInput(
            "play needs somebody to ask",
            where="evolvent play",
            got="nothing",
            wanted="POLICY",
            cure="a run, a checkpoint, a model folder, nano, or a URL: evolvent play runs/circle-0-1",
        )
    screen = Screen(as_json=command.json)
    subject = find_subject(command.words[0])
    asked = read_asked({k: v for k, v in command.fields.items() if k in ("num_tasks", "level")})
    setting = settle(subject, command, own=("num_tasks", "level"))
    table = _Table(subject, setting, screen)
    words = " ".join(command.words[1:])
    if words:
        if "source" in command.fields:
            raise BadInput(
                "either your own question or tasks of a source", got=f"{words!r} and source=", cure="leave one out"
            )
        table.ask(words)
    elif "source" in command.fields or asked != Asked():
        for task in itertools.islice(_drawn(subject, setting, asked), asked.num_tasks or NUM_DRAWN):
            table.pose(task)
    else:
        _talk(table, _drawn(subject, setting, asked))
    return {"policy": subject.policy, "exchanges": table.exchanges}


class _Table:
    """A policy across the table: each question is played alone, as in training."""

    def __init__(self, subject: Subject, setting: Setting, screen: Screen) -> None:
        self.screen, self.setting, self.subject = screen, setting, subject
        self.policies: Mapping[str, Policy] = build_policies(subject, setting)
        self.exchanges: list[dict[str, Any]] = []

    def ask(self, question: str) -> None:
        """A question of the person's own: nobody knows the right answer, so nothing is judged."""
        name = f"play-{len(self.exchanges) + 1}"
        task = Task(name, "play", 1, (said("user", question),), None, UNJUDGED, Origin("play"))
        self._keep(self._play(task), {})

    def pose(self, task: Task) -> None:
        """A held-out task, with the judgement."""
        [episode] = judge_episodes(lift(self.setting.reward), [self._play(task)])
        score = next((t.score for t in episode.traces if t.score is not None), None)
        self._keep(
            episode,
            {
                "family": task.family,
                "level": task.level,
                "wanted": task.private.answer if task.private else None,
                "score": None if score is None else score.value,
                "why": "" if score is None else score.why,
            },
        )

    def _play(self, task: Task) -> Episode:
        how = Sampling(
            self.setting.budgets.turn_tokens, self.setting.temperature, seed=derive(self.setting.seed, "measure") >> 1
        )
        workflow = Watched(self.setting.workflow, int)
        stage = Stage(workflow, self.setting.world, self.policies, self.subject.seats, how, self.setting.budgets)
        self.screen.console.print(f"\n[bold]you[/bold]   {_safe(task.question)}")
        return play([Attempt(task, 0)], stage)[0]

    def _keep(self, episode: Episode, judged: dict[str, Any]) -> None:
        turns = [t for trace in episode.traces for t in trace.turns if t.message.role != "user"]
        for turn in turns:
            self.screen.console.print(_line(turn))
        made = {
            "question": episode.task.question,
            "turns": [_as_json(t) for t in turns],
            "answer": episode.answer,
            "outcome": episode.outcome.value,
            "truncation": next((t.truncation for t in episode.traces if t.truncation), ""),
            "fault": next((t.fault.why for t in episode.traces if t.fault), ""),
            "num_tokens": sum(sum(t.mask) for t in episode.traces),
            **judged,
        }
        self.exchanges.append(made)
        self.screen.console.print(f"[dim]      {_ending(made)}[/dim]")


def _talk(table: _Table, drawn: Iterator[Task]) -> None:
    """Question after question, until the input ends; Enter alone draws a held-out task."""
    is_person = sys.stdin.isatty()
    if is_person:
        first = next(drawn, None)
        drawn = itertools.chain([] if first is None else [first], drawn)
        hint = f", for example {one_line(first.question)}" if first else ""
        table.screen.console.print(f"Ask something{_safe(hint)}. Enter alone draws a held-out task; Ctrl-D ends.")
    try:
        for line in _lines(is_person):
            try:
                if line:
                    table.ask(line)
                elif is_person and (task := next(drawn, None)):
                    table.pose(task)
            except EvolventError as error:  # a question too long, a tool that broke: the next one may go well
                if not is_person:
                    raise
                table.screen.console.print(str(error), markup=False, style="red")
    except KeyboardInterrupt:
        table.screen.console.print()


def _lines(is_person: bool) -> Iterator[str]:
    """The lines of the input; a person gets a prompt and may edit."""
    if not is_person:
        yield from (line.strip() for line in sys.stdin)
        return
    while True:
        sys.stderr.write("\nask> ")
        sys.stderr.flush()
        try:
            yield input().strip()
        except EOFError:
            return


def _drawn(subject: Subject, setting: Setting, asked: Asked) -> Iterator[Task]:
    """Held-out tasks, one of each (family, level) in turn."""
    num = asked.num_tasks or 64
    _, held_out = choose_tasks(replace(subject, suite=None), setting, replace(asked, num_tasks=num))
    for row in itertools.zip_longest(*held_out.values()):
        yield from (task for task in row if task is not None)


# ---------------------------------------------------------------- what a person sees


def _line(turn: Turn) -> str:
    """A turn as lines of the screen: words, calls, or a tool's answer."""
    rows = []
    for block in turn.message.blocks:
        if isinstance(block, ToolCall):
            rows.append(f"[cyan]call[/cyan]  {_safe(_call(block))}")
        elif isinstance(block, ToolResult):
            style = "red" if block.is_error else "cyan"
            rows.append(f"[{style}]tool[/{style}]  {_safe(block.text)}")
        else:
            rows.append(f"[bold green]agent[/bold green] {_safe(getattr(block, 'text', ''))}")
    return "\n".join(rows) or "[bold green]agent[/bold green] (nothing)"


def _call(call: ToolCall) -> str:
    if call.arguments is None:
        return f"{call.name}?  cannot be read: {call.raw}"
    return f"{call.name}({', '.join(f'{k}={v!r}' for k, v in call.arguments.items())})"


def _ending(made: Mapping[str, Any]) -> str:
    words = f"{made['num_tokens']} tokens written"
    if made["truncation"]:
        words += f", cut off: the budget of the {made['truncation']} was spent"
    if made["fault"]:
        words += f", broken: {_safe(one_line(made['fault'], 240))}"
    if "score" in made:
        score = "not judged" if made["score"] is None else f"score {made['score']:g}"
        wanted = "" if made["score"] == 1 or made["wanted"] is None else f", wanted {_safe(one_line(made['wanted']))}"
        words += f", {score}{wanted}" + (f" ({_safe(one_line(made['why'], 80))})" if made["why"] else "")
    return words


def _as_json(turn: Turn) -> dict[str, Any]:
    return {
        "role": turn.message.role,
        "text": turn.message.text,
        "calls": [{"name": c.name, "arguments": c.arguments, "raw": c.raw} for c in turn.message.calls],
        "num_tokens": len(turn.tokens),
    }


def _safe(text: str) -> str:
    from rich.markup import escape

    return escape(printable(text))
