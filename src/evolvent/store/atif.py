"""Turns an episode into trajectories of the Agent Trajectory Interchange Format, token ids and log-probabilities kept.

Tool results stand as observations under the step that called for them. An episode of several seats is one document:
the first seat's trajectory, with those of the others embedded in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evolvent import __version__
from evolvent.codec import encode
from evolvent.errors import BadInput
from evolvent.records import Episode, Image, Text, Tool, ToolCall, ToolResult, Trace, Turn
from evolvent.store.atomic import write_text

VERSION = "ATIF-v1.7"
SOURCES = {"system": "system", "user": "user", "assistant": "agent"}


def write_trajectory(path: str | Path, episode: Episode, tools: Sequence[Tool] = ()) -> Path:
    """Write an episode as a JSON file."""
    write_text(Path(path), json.dumps(to_atif(episode, tools), ensure_ascii=False, indent=1, allow_nan=False) + "\n")
    return Path(path)


def to_atif(episode: Episode, tools: Sequence[Tool] = ()) -> dict[str, Any]:
    """An episode as a JSON value; `tools` are those that its agents were offered, which no trace records."""
    played = [trace for trace in episode.traces if trace.turns]
    if not played:
        raise BadInput(
            "an episode in which nothing was said has no trajectory", where=episode.episode_id, got=episode.outcome
        )
    first, *others = (_trajectory(episode, trace, tools) for trace in played)
    if others:
        first["subagent_trajectories"] = others
        first["notes"] = "Several agents took part: the others are embedded, and share the run but no parent."
    first["extra"] = {
        "task_id": episode.task.task_id,
        "family": episode.task.family,
        "level": episode.task.level,
        "sample": episode.sample,
        "outcome": str(episode.outcome),
        "answer": episode.answer,
        "info": encode(episode.info),
        **first["extra"],
    }
    return first


def _trajectory(episode: Episode, trace: Trace, tools: Sequence[Tool]) -> dict[str, Any]:
    steps = list(_steps(trace))
    counted = [step["metrics"] for step in steps if "metrics" in step]
    agent: dict[str, Any] = {"name": f"evolvent/{trace.seat}", "version": __version__, "model_name": trace.policy}
    if tools:
        agent["tool_definitions"] = [_definition(tool) for tool in tools]
    return {
        "schema_version": VERSION,
        "session_id": episode.episode_id,
        "trajectory_id": f"{episode.episode_id}/{trace.seat}",
        "agent": agent,
        "steps": steps,
        "final_metrics": {
            "total_prompt_tokens": sum(told.get("prompt_tokens", 0) for told in counted),
            "total_completion_tokens": sum(told.get("completion_tokens", 0) for told in counted),
            "total_steps": len(steps),
        },
        "extra": _about(trace),
    }


def _about(trace: Trace) -> dict[str, Any]:
    told: dict[str, Any] = {"seat": trace.seat, "trainable": trace.trainable}
    if trace.truncation:
        told["truncation"] = trace.truncation
    if trace.fault:
        told["fault"] = {"kind": trace.fault.kind, "why": trace.fault.why, "where": trace.fault.where}
    if trace.score:
        told["score"] = trace.score.value
        told["score_components"] = dict(trace.score.components)
        told["score_why"] = trace.score.why
    return told


@dataclass
class _Open:
    """The step whose calls are still to be answered, and the calls that are."""

    step: dict[str, Any] = field(default_factory=dict)
    awaited: list[tuple[str, str]] = field(default_factory=list)


def _steps(trace: Trace) -> Iterator[dict[str, Any]]:
    """One step a turn, but for tool results: they go to the step before, which is handed on once it is whole."""
    open_, number, context = _Open(), 0, list[int]()
    for turn in trace.turns:
        if turn.starts_context:
            context = []
        results = [block for block in turn.message.blocks if isinstance(block, ToolResult)]
        if turn.message.role == "tool" and open_.step:
            open_.step.setdefault("observation", {"results": []})["results"] += [_answered(r, open_) for r in results]
        else:
            if open_.step:
                yield open_.step
            number += 1
            open_ = _begun(turn, number, context)
        context = [*context, *turn.tokens]
    if open_.step:
        yield open_.step


def _begun(turn: Turn, number: int, context: Sequence[int]) -> _Open:
    """A turn as a step, and its calls."""
    source = SOURCES.get(turn.message.role, "user")
    step: dict[str, Any] = {"step_id": number, "source": source, "message": _words(turn)}
    if source != "agent":
        return _Open(step)
    calls = [(f"{turn.turn_id}/{i}", call) for i, call in enumerate(turn.message.calls)]
    if calls:
        step["tool_calls"] = [_called(call_id, call) for call_id, call in calls]
    step["llm_call_count"] = int(turn.sampling is not None)
    if turn.sampling is not None:
        step["metrics"] = _metrics(turn, context)
    elif not turn.tokens:
        step["is_copied_context"] = True  # an example inside the prompt: nobody said it here
    about = {"turn_id": turn.turn_id, "version": turn.version, "finish": turn.finish}
    step["extra"] = about if turn.sampling is not None else {"turn_id": turn.turn_id, "finish": turn.finish}
    return _Open(step, [(call.name, call_id) for call_id, call in calls])


def _words(turn: Turn) -> str:
    """What a message says; a picture by its digest, since no bytes of it are at hand."""
    said = []
    for block in turn.message.blocks:
        if isinstance(block, Text | ToolResult):
            said.append(block.text)
        elif isinstance(block, Image):
            said.append(f"[picture {block.digest}]")
    return "".join(said)


def _metrics(turn: Turn, context: Sequence[int]) -> dict[str, Any]:
    spoken = [token for token, own in zip(turn.tokens, turn.mask, strict=True) if own]
    if not spoken:
        return {}
    lead = turn.mask.index(True)
    prompt = [*context, *turn.tokens[:lead]]
    told: dict[str, Any] = {
        "prompt_tokens": len(prompt),
        "completion_tokens": len(spoken),
        "prompt_token_ids": prompt,
        "completion_token_ids": spoken,
    }
    if turn.sampled_logprobs:
        told["logprobs"] = list(turn.sampled_logprobs)
    if turn.model_logprobs:
        told["extra"] = {"model_logprobs": list(turn.model_logprobs)}
    return told


def _called(call_id: str, call: ToolCall) -> dict[str, Any]:
    told: dict[str, Any] = {"tool_call_id": call_id, "function_name": call.name, "arguments": {}}
    if call.arguments is not None:
        told["arguments"] = encode(call.arguments)
    else:
        told["extra"] = {"unreadable": call.raw}
    return told


def _answered(result: ToolResult, open_: _Open) -> dict[str, Any]:
    """A result under the first call of that name that has none yet."""
    told: dict[str, Any] = {"content": result.text}
    found = next((pair for pair in open_.awaited if pair[0] == result.name), None)
    if found:
        open_.awaited.remove(found)
        told["source_call_id"] = found[1]
    if result.is_error:
        told["extra"] = {"is_error": True}
    return told


def _definition(tool: Tool) -> dict[str, Any]:
    about = {"name": tool.name, "description": tool.description, "parameters": encode(tool.parameters)}
    return {"type": "function", "function": about}
