"""Turns the body of a chat request into what a policy is asked; every field is read or refused, never ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evolvent.errors import BadInput, nearest
from evolvent.policies.wire import messages_from_wire, tools_from_wire
from evolvent.records import Message, Tool

MAX_CHOICES = 128
"""OpenAI's own limit of `n`."""

INERT: Mapping[str, tuple[Any, ...]] = {
    "stop": ([],),
    "tool_choice": ("auto",),
    "parallel_tool_calls": (True,),
    "response_format": ({"type": "text"},),
    "top_logprobs": (0,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
}
"""Fields that are understood only where they change nothing: the values that do so (null always does)."""

READ = ["model", "messages", "tools", "temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens"]
READ += ["n", "seed", "stream", "stream_options", "logprobs", "return_token_ids"]


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat request, checked; `max_tokens` and `seed` are None where the client left them to the server."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    temperature: float
    top_p: float
    top_k: int
    max_tokens: int | None
    num_choices: int
    seed: int | None
    streams: bool
    counts_usage: bool
    wants_logprobs: bool
    wants_ids: bool


def read_request(body: object) -> ChatRequest:
    """The request; BadInput names the field that is wrong in `where`."""
    if not isinstance(body, dict):
        raise BadInput("the body is not a JSON object", where="body", got=type(body).__name__)
    _refuse_unknown(body)
    given = {name: value for name, value in body.items() if value is not None}
    streams = _truth(given, "stream")
    return ChatRequest(
        model=_model(given),
        messages=messages_from_wire(given.get("messages")),
        tools=tools_from_wire(given.get("tools", [])),
        temperature=_number(given, "temperature", 1.0, 0.0, 2.0),
        top_p=_top_p(given),
        top_k=max(0, _whole(given, "top_k", 0, -1, 1 << 20)),
        max_tokens=_max_tokens(given),
        num_choices=_whole(given, "n", 1, 1, MAX_CHOICES),
        seed=_whole(given, "seed", 0, -(1 << 63), (1 << 63) - 1) if "seed" in given else None,
        streams=streams,
        counts_usage=_counts_usage(given, streams),
        wants_logprobs=_truth(given, "logprobs"),
        wants_ids=_truth(given, "return_token_ids"),
    )


def _refuse_unknown(body: Mapping[str, Any]) -> None:
    for name, value in body.items():
        if name in READ or (name in INERT and (value is None or value in INERT[name])):
            continue
        if name in INERT:
            wanted = " or ".join(map(repr, (*INERT[name], None)))
            raise BadInput(f"{name} is not supported", where=name, got=repr(value)[:200], wanted=wanted)
        raise BadInput(
            f"unknown or unsupported field {name!r}",
            where=name,
            cure=nearest(name, [*READ, *INERT]) + " or leave it out",
        )


def _model(given: Mapping[str, Any]) -> str:
    if not isinstance(given.get("model"), str):
        raise BadInput("no model", where="model", got=repr(given.get("model")), wanted="a name listed by /v1/models")
    return str(given["model"])


def _max_tokens(given: Mapping[str, Any]) -> int | None:
    """The limit under its old or its new name; both may come where they agree."""
    names = [name for name in ("max_tokens", "max_completion_tokens") if name in given]
    limits = {_whole(given, name, 0, 1, 1 << 30) for name in names}
    if len(limits) > 1:
        raise BadInput(
            "two limits disagree", where=names[1], got=sorted(limits), cure="send max_completion_tokens alone"
        )
    return limits.pop() if limits else None


def _top_p(given: Mapping[str, Any]) -> float:
    top_p = _number(given, "top_p", 1.0, 0.0, 1.0)
    if top_p == 0:
        raise BadInput("top_p 0 keeps no token", where="top_p", wanted="0 < top_p <= 1", cure="temperature 0 is greedy")
    return top_p


def _counts_usage(given: Mapping[str, Any], streams: bool) -> bool:
    options = given.get("stream_options", {})
    if not isinstance(options, dict) or set(options) - {"include_usage"} or (options and not streams):
        raise BadInput(
            "stream_options cannot be read",
            where="stream_options",
            got=repr(options)[:200],
            wanted='{"include_usage": true}, and only with stream=true',
        )
    return _truth(options, "include_usage")


def _truth(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise BadInput(f"{name} is true or false", where=name, got=repr(value)[:200])
    return value


def _whole(given: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    value = given.get(name, default)
    if type(value) is not int or not low <= value <= high:
        raise BadInput(
            f"{name} is out of range", where=name, got=repr(value)[:200], wanted=f"a whole number {low}..{high}"
        )
    return value


def _number(given: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = given.get(name, default)
    if type(value) not in (int, float) or not low <= value <= high:
        raise BadInput(
            f"{name} is out of range", where=name, got=repr(value)[:200], wanted=f"a number {low:g}..{high:g}"
        )
    return float(value)
