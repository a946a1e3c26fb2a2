"""What an agent of the hive sees before it tries something, and what it hands on: the door for every kind of agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Protocol

Wire = Mapping[str, Any]  # a JSON object as the hub sends it


def _read_nothing(commits: Sequence[str], path: str) -> list[bytes | None]:
    """As if no commit were here."""
    return [None for _ in commits]


@dataclass(frozen=True)
class Desk:
    """What a proposer may do with git, without its keys: stand the work tree on a run, read files of runs.

    `stand_on(commit)` leaves the work tree clean at that commit; `read(commit, path)` gives the bytes of one file, None
    where it is not there, and fetches the commit as needed; `read_all(commits, path)` reads the same file of many that
    are here already. They raise InfrastructureError while the hub is away.
    """

    stand_on: Callable[[str], None]
    read: Callable[[str, str], bytes | None]
    read_all: Callable[[Sequence[str], str], list[bytes | None]] = _read_nothing


@dataclass(frozen=True)
class Context:
    """All that an agent may know at this moment.

    `task` is what the hub tells of it, `program` the text of program.md, `base` the commit that the work tree stands on
    (the best official run, else the baseline). `runs` are those the agent
    may see, by number; `best` is one of them. `number` counts the own proposals from 0, `left` says what remains of
    each limit that was set (evaluations, seconds, tokens, money).
    """

    task: Wire
    agent: str
    program: str
    base: str
    desk: Desk
    best: Wire | None = None
    runs: Sequence[Wire] = ()
    leaderboard: Sequence[Wire] = ()
    claims: Sequence[Wire] = ()
    feed: Sequence[Wire] = ()
    skills: Sequence[Wire] = ()
    budget: Wire = field(default_factory=dict)
    number: int = 0
    left: Mapping[str, float] = field(default_factory=dict)

    @property
    def mutable(self) -> tuple[str, ...]:
        """The paths that may be changed."""
        return tuple(self.task["mutable"])

    @property
    def sign(self) -> int:
        """By what a number is multiplied so that more is better."""
        return -1 if self.task["direction"] == "minimize" else 1


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change that stands in the work tree, not committed yet; `parent` is the run that it builds on.

    `message` tells the others what was tried and why, `score` what the agent measured by itself (a claim, which ranks
    nothing), `tokens` and `money` what it cost to think of it.
    """

    tldr: str
    message: str
    parent: str | None
    score: float | None = None
    tokens: int = 0
    money: float = 0.0


class Proposer(Protocol):
    """An agent of any kind.

    The work tree stands clean at `context.base`. It changes files at the mutable paths there, and never commits; None
    says that nothing is left to try. A try that cost something and came to nothing raises nothing: it returns a
    Proposal with an unchanged tree, whose cost is counted and which is not submitted.
    """

    def propose(self, tree: Path, context: Context, rng: Random) -> Proposal | None:
        """Change the work tree, and say how."""
        ...
