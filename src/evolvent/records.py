"""Every noun that one stage hands to the next: frozen, comparable, and JSON both ways without loss."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from evolvent.codec import locate

# ---------------------------------------------------------------- words between people, tools and models


@dataclass(frozen=True, slots=True)
class Text:
    """Words."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """A picture, named by the SHA-256 of its bytes in the store."""

    digest: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A request to run a tool; `arguments` is None where it could not be read, and `raw` says what was written."""

    name: str
    arguments: Mapping[str, Any] | None
    raw: str = ""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool answered; an error is an answer too."""

    name: str
    text: str
    is_error: bool = False


Block = Text | Image | ToolCall | ToolResult


@dataclass(frozen=True, slots=True)
class Message:
    """One message: `role` is system, user, assistant or tool."""

    role: str
    blocks: tuple[Block, ...]

    @property
    def text(self) -> str:
        """The words of the message, calls and pictures left out."""
        return "".join(b.text for b in self.blocks if isinstance(b, Text | ToolResult))

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tool calls of the message, in order."""
        return tuple(b for b in self.blocks if isinstance(b, ToolCall))


def said(role: str, text: str) -> Message:
    """A message of plain words."""
    return Message(role, (Text(text),))


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as a model sees it: a name, a line on what it does, and a JSON schema of its parameters."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample; temperature 0 is greedy, top_p 1 and top_k 0 leave the distribution whole."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked of a policy: messages for endpoints, token ids for local policies.

    `stream` names the random stream of this one completion, `continues` the call id of the completion
    whose context this prompt extends token for token (a policy may reuse what it computed there), `max_tokens`
    a limit of its own below that of the sampling. The completion ends where its text contains one of `stops`, which
    stays at its end; nothing that a policy writes behind it is kept.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tokens: tuple[int, ...] | None = None
    stream: tuple[str | int, ...] = ()
    continues: str | None = None
    max_tokens: int | None = None
    stops: tuple[str, ...] = ()

    def room(self, how: Sampling) -> int:
        """How many tokens the completion may have: its own limit, or that of `how`."""
        return how.max_tokens if self.max_tokens is None else min(self.max_tokens, how.max_tokens)


class Finish(StrEnum):
    """Why a completion ended."""

    STOP = "stop"
    CALL = "tool_calls"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Completion:
    """What a policy said: token ids with two log-probabilities each, never one for the other.

    `sampled_logprobs` are after temperature and truncation, `model_logprobs` at temperature 1 without;
    both are empty where the policy gives no token ids. `version` counts the updates of the weights.
    """

    tokens: tuple[int, ...]
    text: str
    sampled_logprobs: tuple[float, ...]
    model_logprobs: tuple[float, ...]
    version: int
    finish: Finish
    call_id: str
    message: Message | None = None
    prompt_tokens: int = 0
    cost: float = 0.0
    route: str = ""


# ---------------------------------------------------------------- tasks and attempts


@dataclass(frozen=True, slots=True)
class Reference:
    """A function named by import path with JSON arguments: how a record carries code across processes."""

    path: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> Callable[..., Any]:
        """The function behind the path, its arguments bound."""
        found = locate(self.path)
        return functools.partial(found, **self.arguments) if self.arguments else found


@dataclass(frozen=True, slots=True)
class Private:
    """What judges a task and no policy or tool may see: the answer, hidden data, and a worked solution.

    `solution` is one demonstration as assistant messages (the environment's replies are produced by playing it).
    """

    answer: str
    data: Mapping[str, Any] = field(default_factory=dict)
    solution: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a task came from: the generator or file, and the tasks that it was made from."""

    how: str
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """One problem: a prompt, what is needed to judge it, and its place in (family, level)."""

    task_id: str
    family: str
    level: int
    prompt: tuple[Message, ...]
    private: Private | None
    judge: Reference
    origin: Origin
    split: str = "train"

    @property
    def question(self) -> str:
        """The words of the last user message."""
        return self.prompt[-1].text

    @property
    def problem(self) -> str:
        """What makes two tasks one: the question, and its world where the private part names one."""
        world = self.private.data.get("world") if self.private else None
        return self.question if world is None else f"{self.question}\n{json.dumps(world, sort_keys=True)}"


@dataclass(frozen=True, slots=True)
class Turn:
    """One message with the token ids that it added to the context, and who wrote each of them.

    `mask` is True where the policy wrote the token; the two log-probabilities have one entry per True
    (both empty in a demonstration). `sampling` is None for words that no policy sampled.
    """

    turn_id: str
    parent: str | None
    seat: str
    round: int
    message: Message
    tokens: tuple[int, ...] = ()
    mask: tuple[bool, ...] = ()
    sampled_logprobs: tuple[float, ...] = ()
    model_logprobs: tuple[float, ...] = ()
    call_id: str = ""
    version: int = -1
    finish: str = ""
    sampling: Sampling | None = None
    starts_context: bool = False


class Outcome(StrEnum):
    """How an attempt ended; only the first two carry reward."""

    OK = "ok"
    AGENT_FAILED = "agent failed"
    INFRASTRUCTURE_FAILED = "infrastructure failed"
    VERIFIER_FAILED = "verifier failed"

    @property
    def carries_reward(self) -> bool:
        """Whether the attempt may be judged, trained on and measured."""
        return self in (Outcome.OK, Outcome.AGENT_FAILED)


@dataclass(frozen=True, slots=True)
class Fault:
    """What broke in an attempt: the kind of error, its words, and where."""

    kind: str
    why: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a trace with a value of its own: tokens [start, stop) of one turn."""

    turn: int
    start: int
    stop: int
    value: float


@dataclass(frozen=True, slots=True)
class Score:
    """A judgement: the value trained on, its components before mixing, and why."""

    value: float
    components: Mapping[str, float] = field(default_factory=dict)
    why: str = ""
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Trace:
    """One agent's turns on one task, with what broke (if anything) and its score (once judged)."""

    task_id: str
    sample: int
    seat: str
    policy: str
    turns: tuple[Turn, ...]
    outcome: Outcome = Outcome.OK
    truncation: str = ""
    fault: Fault | None = None
    score: Score | None = None
    trainable: bool = True

    @property
    def tokens(self) -> tuple[int, ...]:
        """All token ids of the trace, in order."""
        return tuple(t for turn in self.turns for t in turn.tokens)

    @property
    def mask(self) -> tuple[bool, ...]:
        """True where the policy wrote the token."""
        return tuple(m for turn in self.turns for m in turn.mask)

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """Every tool call that the agent made."""
        return tuple(c for turn in self.turns for c in turn.message.calls if turn.message.role == "assistant")


@dataclass(frozen=True, slots=True)
class Episode:
    """All traces of all agents on one attempt at one task, and the answer given."""

    episode_id: str
    task: Task
    sample: int
    traces: tuple[Trace, ...]
    answer: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def outcome(self) -> Outcome:
        """The worst outcome among the traces, infrastructure before verifier before agent."""
        order = (Outcome.INFRASTRUCTURE_FAILED, Outcome.VERIFIER_FAILED, Outcome.AGENT_FAILED)
        found = {trace.outcome for trace in self.traces}
        return next((o for o in order if o in found), Outcome.OK)

    @property
    def used_tool(self) -> bool:
        """Whether any agent called a tool."""
        return any(trace.calls for trace in self.traces)


def role_of(seat: str) -> str:
    """What a seat is there for: "solver/3" is the third copy of the role "solver"."""
    return seat.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Group:
    """Traces compared with each other; `key` is (task, seat) or (task, role, sample), never a position in a list."""

    key: tuple[str | int, ...]
    traces: tuple[Trace, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Candidates for one task put in order: `ranks` gives each candidate's place, equal numbers are ties."""

    task_id: str
    candidates: tuple[str, ...]
    ranks: tuple[int, ...]
    judge: str
    positions: tuple[int, ...] = ()
    why: str = ""


# ---------------------------------------------------------------- what was measured and found


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured number with a 95 % interval and the number of tasks behind it."""

    value: float
    low: float
    high: float
    num: int


@dataclass(frozen=True, slots=True)
class Cell:
    """What was measured in one (family, level): per held-out task its mean score, tool use and length.

    The tuples are parallel, one entry per task; `scores` is the mean over the task's attempts, `used_tool` the
    share of them with a call, `right_with_tool` the share that called a tool and were right.
    """

    family: str
    level: int
    task_ids: tuple[str, ...]
    scores: tuple[float, ...]
    used_tool: tuple[float, ...]
    right_with_tool: tuple[float, ...]
    best: tuple[float, ...]
    num_tokens: tuple[float, ...]
    num_faults: int = 0


@dataclass(frozen=True, slots=True)
class Weakness:
    """A cell where the agent is weakest, with episodes that show it."""

    family: str
    level: int
    accuracy: Estimate
    episode_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Measured numbers with spread: one Cell per (family, level) for each named way of sampling."""

    step: int
    name: str
    cells: tuple[Cell, ...]
    metrics: Mapping[str, Estimate]
    weaknesses: tuple[Weakness, ...] = ()
    policy: str = "agent"
    version: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One experiment: what was changed, under which budget, what came out, and whether it was kept."""

    finding_id: str
    change: str
    budget: Mapping[str, float]
    result: Mapping[str, Any]
    kept: bool
    why: str
    parents: tuple[str, ...] = ()
