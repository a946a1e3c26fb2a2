"""Names what went wrong in a failed episode, from its record alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evolvent.records import Episode, ToolCall, ToolResult

MISTAKES = {
    "unreadable call": "wrong tool use",
    "unknown tool": "wrong tool use",
    "wrong tool": "wrong tool use",
    "wrong argument": "wrong tool use",
    "bad state update": "bad state update",
    "truncated": "missing capability",
    "no answer": "missing capability",
    "wrong answer": "missing capability",
}
"""Every kind of mistake, causes before what follows from them, with what the agent lacks where it prevails."""

LACKS = tuple(dict.fromkeys(MISTAKES.values()))
UNKNOWN = "there is no tool"  # as envs.tools.pick says it


def find_mistakes(episode: Episode) -> tuple[str, ...]:
    """Every kind of mistake in a failed episode, in the order of MISTAKES; never none."""
    found = set(_in_calls(episode)) | set(_in_the_end(episode))
    if not found:
        found = {"wrong answer"}
    return tuple(kind for kind in MISTAKES if kind in found)


def _in_calls(episode: Episode) -> Iterator[str]:
    """What is wrong with the calls: by what the world answered, and beside a worked solution where there is one."""
    calls = [call for trace in episode.traces for call in trace.calls]
    refused = [result for result in results_of(episode) if result.is_error]
    if any(call.arguments is None for call in calls):
        yield "unreadable call"
    unknown = {result.name for result in refused if UNKNOWN in result.text}
    if unknown:
        yield "unknown tool"
    readable = [call for call in calls if call.arguments is not None and call.name not in unknown]
    if {result.name for result in refused} & {call.name for call in readable}:
        yield "wrong argument"
    shown = _worked(episode)
    if shown:
        yield from _beside(readable, shown, has_ended=bool(episode.answer))


def _beside(calls: Sequence[ToolCall], shown: Sequence[ToolCall], *, has_ended: bool) -> Iterator[str]:
    called, needed = {call.name for call in calls}, {call.name for call in shown}
    # whoever was cut short may have had the right tools still to come
    if called - needed or (has_ended and needed - called):
        yield "wrong tool"
    known = [(call.name, _plain(call.arguments)) for call in shown]
    if any(call.name in needed and (call.name, _plain(call.arguments)) not in known for call in calls):
        yield "wrong argument"


def _in_the_end(episode: Episode) -> Iterator[str]:
    """What is wrong with how it ended: cut short, without an answer, with a wrong one, or in a wrong state."""
    if any(trace.truncation for trace in episode.traces):
        yield "truncated"
    elif not episode.answer:
        yield "no answer"
    scores = [trace.score for trace in episode.traces if trace.score is not None]
    if any(score.components.get("state", 1.0) < 1.0 for score in scores):
        yield "bad state update"
    if episode.answer and any(score.components.get("answer", 1.0) < 1.0 for score in scores):
        yield "wrong answer"


def results_of(episode: Episode) -> list[ToolResult]:
    """Everything that tools answered, in order."""
    messages = [turn.message for trace in episode.traces for turn in trace.turns if turn.message.role == "tool"]
    return [block for message in messages for block in message.blocks if isinstance(block, ToolResult)]


def _worked(episode: Episode) -> list[ToolCall]:
    private = episode.task.private
    return [call for message in private.solution for call in message.calls] if private else []


def _plain(arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    return dict(arguments or {})
