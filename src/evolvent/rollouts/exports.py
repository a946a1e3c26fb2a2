"""Turns episodes into the rows that other trainers read: TRL's two forms, and those of verifiers.

A row of several contexts tells the last one; each reply with all that stood before it is a row of its own in
`prompt_completions`, whatever the contexts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evolvent.policies.wire import Json, messages_to_wire, tools_to_wire
from evolvent.records import Episode, Message, Tool, Trace, Turn


def as_messages(episode: Episode, tools: Sequence[Tool] = (), seat: str = "agent") -> Iterator[Json]:
    """TRL's conversational rows: one for each conversation that was held to its end."""
    trace = _trace(episode, seat)
    for turn in _ends(trace):
        yield {"messages": messages_to_wire(conversation(trace, turn)), **_offer(tools)}


def prompt_completions(episode: Episode, tools: Sequence[Tool] = (), seat: str = "agent") -> Iterator[Json]:
    """TRL's prompt and completion: a row for each reply that was sampled, so that nothing else is trained on."""
    trace = _trace(episode, seat)
    for turn in trace.turns:
        if turn.sampling is not None:
            wire = messages_to_wire(conversation(trace, turn))
            yield {"prompt": wire[:-1], "completion": wire[-1:], **_offer(tools)}


def as_verifiers(episode: Episode, example_id: int, tools: Sequence[Tool] = (), seat: str = "agent") -> Json:
    """A row as verifiers saves a rollout: prompt, completion, answer, reward, and what else is known in `info`."""
    trace = _trace(episode, seat)
    ends = list(_ends(trace))
    spoken = conversation(trace, ends[-1]) if ends else []
    first = next((i for i, message in enumerate(spoken) if message.role == "assistant"), len(spoken))
    wire, head = messages_to_wire(spoken) if spoken else [], len(messages_to_wire(spoken[:first])) if first else 0
    score = trace.score
    return {
        "example_id": example_id,
        "task": episode.task.family,
        "prompt": wire[:head],
        "completion": wire[head:],
        "answer": episode.task.private.answer if episode.task.private else "",
        "reward": score.value if score else None,
        "metrics": dict(score.components) if score else {},
        "is_truncated": bool(trace.truncation),
        "info": {
            "task_id": episode.task.task_id,
            "level": episode.task.level,
            "sample": episode.sample,
            "given_answer": episode.answer,
            "num_contexts": len(ends),
        },
        **_offer(tools),
    }


def conversation(trace: Trace, turn: Turn) -> list[Message]:
    """All messages up to a turn, by parents: what stood before a context went back to a mark is among them."""
    by_id = {one.turn_id: one for one in trace.turns}
    found, at = [], turn
    while True:
        found.append(at.message)
        if at.parent is None:
            return found[::-1]
        at = by_id[at.parent]


def _ends(trace: Trace) -> Iterator[Turn]:
    """The sampled turns that nothing followed on."""
    parents = {turn.parent for turn in trace.turns}
    return (turn for turn in trace.turns if turn.sampling is not None and turn.turn_id not in parents)


def _trace(episode: Episode, seat: str) -> Trace:
    return next(trace for trace in episode.traces if trace.seat == seat)


def _offer(tools: Sequence[Tool]) -> Mapping[str, Any]:
    return {"tools": tools_to_wire(tools)} if tools else {}
