"""Makes any command line an agent of the hive: it edits its tree once for each try, or drives itself without end."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any

from evolvent.errors import BadInput, InfrastructureError
from evolvent.hive.agents.bounds import Bounds, bounded
from evolvent.hive.agents.files import Report, Seat, context_files, lay_home, lay_notes, read_report, remove_tree
from evolvent.hive.agents.own_score import read_tree
from evolvent.hive.agents.process import MARK, AgentProcess, end_all, find_marked
from evolvent.hive.agents.prompt import prompt_free, prompt_once
from evolvent.hive.agents.proposer import Context, Proposal
from evolvent.hive.agents.room import Isolate, Room, enclose, surround

PROMPT, PROMPT_FILE, TREE = "{prompt}", "{prompt_file}", "free"
LIMIT_S = 1800.0


class Mode(StrEnum):
    """Who runs the loop: we do, and the command makes one try at a time; or the command itself."""

    ONCE = "once"
    FREE = "free"


@dataclass(frozen=True)
class CommandAgent:
    """A command line as a Proposer. It gets its prompt on stdin and where `{prompt}` or `{prompt_file}` stands in it.

    It sees its work tree (the current folder), a home of its own, and the network; see `Room`.
    """

    command: str
    seat: Seat
    isolate: Isolate
    mode: Mode = Mode.ONCE
    limit_s: float = LIMIT_S
    grace_s: float = 5.0
    bounds: Bounds = Bounds()
    see: tuple[Path, ...] = ()
    env: tuple[str, ...] = ()
    tell: Callable[[str], None] = print

    def __post_init__(self) -> None:
        if self.limit_s <= 0 or self.grace_s < 0:
            raise BadInput("a command needs time", where="limit_s", got=self.limit_s, wanted="seconds > 0")
        room = self.room(self.seat.folder)  # what is wrong with it is said before the first try
        enclose(split(self.command), room)
        surround(room, {})

    def propose(self, tree: Path, context: Context, rng: Random) -> Proposal | None:
        """Run the command in the tree, and hand on what it says; InfrastructureError where it made no try."""
        prompt = prompt_once(context)
        lay_notes(tree, self.seat, context_files(context, prompt))
        own = {"EVOLVENT_HIVE_NUMBER": str(context.number), "EVOLVENT_HIVE_SEED": str(rng.getrandbits(31))}
        own |= {"EVOLVENT_HIVE_BASE": context.base}
        before = read_tree(tree, context.mutable)
        status, tail = self.run(tree, prompt, own)
        report = read_report(tree, tail)
        if status and read_tree(tree, context.mutable) == before:
            got, cure = f"status {status}: {report.tldr}", f"read {self.seat.log}; try it by hand"
            raise InfrastructureError("the command failed and changed nothing", where=self.command, got=got, cure=cure)
        return Proposal(
            tldr=report.tldr,
            message=_message(report, status, self.limit_s),
            parent=context.base,
            score=report.score,
            tokens=report.tokens,
            money=report.money,
        )

    def run(self, tree: Path, prompt: str, own: Mapping[str, str]) -> tuple[int | None, bytes]:
        """One run of the command to its end: the status (None where its time was up), and the last of its output."""
        room = self.room(tree)
        lay_home(self.seat)
        words = [word.replace(PROMPT_FILE, f"{room.seen_tree}/.hive/prompt.md") for word in split(self.command)]
        words = enclose([word.replace(PROMPT, prompt) for word in words], room)
        with bounded(words, self.bounds) as within:
            env = surround(room, {**self._own(room), **own})
            process = AgentProcess(within.words, env, tree, self.seat.log, prompt)
            try:
                status = process.wait(self.limit_s)
            finally:
                process.stop(self.grace_s)
                if self.isolate is Isolate.NONE:  # a child may have left the group and its parent
                    end_all(find_marked(self.seat.folder), grace_s=0.0)
            ran_out = within.ran_out()
        if ran_out:
            self.tell(f"{self.seat.agent}: it needed more memory than {self.bounds.memory_mb} MB (memory_mb)")
        if status is None:
            self.tell(f"{self.seat.agent}: stopped after {self.limit_s:g} s (limit_s)")
        elif status:
            self.tell(f"{self.seat.agent}: the command ended with status {status}; see {self.seat.log}")
        return status, bytes(process.tail)

    def room(self, tree: Path) -> Room:
        """Where the command runs."""
        return Room(tree.absolute(), self.seat.home.absolute(), self.isolate, self.see, self.env)

    def _own(self, room: Room) -> dict[str, str]:
        seat, notes = self.seat, f"{room.seen_tree}/.hive"
        return {
            "EVOLVENT_HIVE_HUB": seat.hub,
            "EVOLVENT_HIVE_TASK": seat.task,
            "EVOLVENT_HIVE_AGENT": seat.agent,
            "EVOLVENT_HIVE_TREE": room.seen_tree,
            "EVOLVENT_HIVE_CONTEXT": f"{notes}/context.json",
            "EVOLVENT_HIVE_PROMPT": f"{notes}/prompt.md",
            "EVOLVENT_HIVE_REPORT": f"{notes}/report.json",
            "HIVE_SERVER": seat.hub,
            "HIVE_TASK": seat.task,
            "GIT_TERMINAL_PROMPT": "0",
            **{f"GIT_{who}_NAME": seat.agent for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": f"{seat.agent}@hive.invalid" for who in ("AUTHOR", "COMMITTER")},
            MARK: str(seat.folder),
        }


def drive(agent: CommandAgent, task: Mapping[str, Any], clone: Callable[[Path], Mapping[str, Any]]) -> int:
    """Let the command drive itself in a tree of its own, and say how it ended.

    `clone(folder)` makes the work tree there and gives what the hub answered. A tree that is there already is the
    command's own: no git of ours may ever run in it, for the command could have told it to run other things.
    """
    tree, made = agent.seat.folder / TREE, agent.seat.folder / f"{TREE}.json"
    if not made.is_file():
        remove_tree(tree)  # a clone that was interrupted; no command has run in it
        answer = clone(tree)
        (tree / ".git" / "info").mkdir(exist_ok=True)
        left = [
            ".hive/",
            "/run.log",
            "__pycache__/",
            "/inputs/",
            *(task.get(key) for key in ("predictions", "replayed")),
        ]
        (tree / ".git" / "info" / "exclude").write_text("".join(f"{name}\n" for name in left if name), "utf-8")
        made.write_text(json.dumps({"mode": "fork", "fork_url": answer.get("fork_url", ""), "key_path": ""}), "utf-8")
    prompt = prompt_free(task)
    lay_notes(tree, agent.seat, {"prompt.md": prompt, "fork.json": made.read_text("utf-8")})
    status, _ = agent.run(tree, prompt, {})
    return 124 if status is None else status


def split(command: str) -> list[str]:
    """The words of a command line, read as a shell would, without one."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise BadInput("the command line cannot be read", where="agent", got=command, cure=str(error)) from error
    if not words:
        wanted = 'a command line, such as "my-agent --print {prompt}"'
        raise BadInput("no agent is named", where="agent", got=repr(command), wanted=wanted)
    return words


def _message(report: Report, status: int | None, limit_s: float) -> str:
    if status == 0:
        return report.message
    how = f"stopped after {limit_s:g} s" if status is None else f"ended with status {status}"
    return f"{report.message}\n\n(The command of this agent {how}.)"
