"""Turns the body of a chat or text request into what a policy is asked; every field is read or refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evolvent.errors import BadInput
from evolvent.policies.wire import messages_from_wire, tools_from_wire
from evolvent.records import Message, Tool
from evolvent.serve.fields import INERT, MAX_TOP, SHARED, Asked, Given, given_fields, shared, truth, whole

MAX_PROMPTS = 256
"""Prompts of one text request, times its choices."""

TEXT_TOKENS = 16
"""OpenAI's own default of `max_tokens` in text requests."""

CHAT_READ = (*SHARED, "messages", "tools", "max_tokens", "max_completion_tokens", "logprobs", "top_logprobs")
CHAT_INERT: Mapping[str, tuple[Any, ...]] = {
    **INERT,
    "tool_choice": ("auto",),
    "parallel_tool_calls": (True,),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}
TEXT_READ = (*SHARED, "prompt", "max_tokens", "logprobs", "echo")
TEXT_INERT: Mapping[str, tuple[Any, ...]] = {**INERT, "best_of": (1,), "suffix": ("",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest(Asked):
    """A chat request, checked."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRequest(Asked):
    """A request to go on from prompts, each a text or token ids; `echoes` brings the prompt back, with its scores."""

    prompts: tuple[str | tuple[int, ...], ...]
    echoes: bool


def read_chat(body: object) -> ChatRequest:
    """The chat request; BadInput names the field that is wrong in `where`."""
    given = given_fields(body, CHAT_READ, CHAT_INERT)
    wants_logprobs = truth(given, "logprobs")
    num_top = whole(given, "top_logprobs", 0, 0, MAX_TOP)
    if num_top and not wants_logprobs:
        raise BadInput("top_logprobs stand beside logprobs", where="top_logprobs", cure="send logprobs=true as well")
    return ChatRequest(
        **shared(given),
        messages=messages_from_wire(given.get("messages")),
        tools=tools_from_wire(given.get("tools", [])),
        max_tokens=_max_tokens(given),
        wants_logprobs=wants_logprobs,
        num_top=num_top,
    )


def read_text(body: object) -> TextRequest:
    """The text request, likewise; `logprobs` is a number there, and 0 asks for the drawn tokens' own alone."""
    given = given_fields(body, TEXT_READ, TEXT_INERT)
    echoes = truth(given, "echo")
    request = TextRequest(
        **shared(given),
        prompts=_prompts(given.get("prompt")),
        echoes=echoes,
        max_tokens=whole(given, "max_tokens", TEXT_TOKENS, 0 if echoes else 1, 1 << 30),
        wants_logprobs="logprobs" in given,
        num_top=whole(given, "logprobs", 0, 0, MAX_TOP),
    )
    if echoes and request.streams:
        raise BadInput("echo and stream do not go together", where="echo", cure="leave one of them out")
    if len(request.prompts) * request.num_choices > MAX_PROMPTS:
        got = f"{len(request.prompts)} prompts x n={request.num_choices}"
        raise BadInput("too many completions at once", where="prompt", got=got, wanted=f"at most {MAX_PROMPTS}")
    return request


def _max_tokens(given: Given) -> int | None:
    """The limit under its old or its new name; both may come where they agree."""
    names = [name for name in ("max_tokens", "max_completion_tokens") if name in given]
    limits = {whole(given, name, 0, 1, 1 << 30) for name in names}
    if len(limits) > 1:
        raise BadInput(
            "two limits disagree", where=names[1], got=sorted(limits), cure="send max_completion_tokens alone"
        )
    return limits.pop() if limits else None


def _prompts(value: object) -> tuple[str | tuple[int, ...], ...]:
    """One prompt or several, as text or as token ids."""
    prompts: list[Any] = value if isinstance(value, list) and value and not _is_ids(value) else [value]
    if all(isinstance(prompt, str) or _is_ids(prompt) for prompt in prompts):
        return tuple(prompt if isinstance(prompt, str) else tuple(prompt) for prompt in prompts)
    raise BadInput(
        "the prompt cannot be read",
        where="prompt",
        got=repr(value)[:200],
        wanted="a text, a list of token ids, or a list of either",
    )


def _is_ids(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(token) is int and token >= 0 for token in value)
