"""Turns completions into the body, or the stream of chunks, that OpenAI's clients read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from evolvent.policies.wire import Json, message_to_wire
from evolvent.records import Completion, Message
from evolvent.serve.request import ChatRequest

TokenText = Callable[[tuple[int, ...]], str]


@dataclass(frozen=True, slots=True)
class Reply:
    """All that one answer is made of: the request, its completions with their messages, and the prompt's token ids."""

    request: ChatRequest
    answer_id: str
    created_s: int
    completions: tuple[Completion, ...]
    messages: tuple[Message, ...]
    prompt_ids: tuple[int, ...] | None
    token_text: TokenText | None

    @property
    def version(self) -> int:
        """The version of the weights; the oldest where an update came between two choices."""
        return min(made.version for made in self.completions)


def whole(reply: Reply) -> Json:
    """The answer in one piece."""
    choices = [
        {
            "index": place,
            "message": {**message_to_wire(message, _call_prefix(reply, place), raw_calls=True), "refusal": None},
            "finish_reason": str(made.finish),
            **_evidence(reply, made),
        }
        for place, (made, message) in enumerate(zip(reply.completions, reply.messages, strict=True))
    ]
    return {**_head(reply, "chat.completion"), "choices": choices, "usage": _usage(reply), **_prompt_ids(reply)}


def chunks(reply: Reply) -> Iterator[str]:
    """The answer as server-sent events: role, words, calls, the reason of the end with token ids, [DONE]."""
    usage: Json = {"usage": None} if reply.request.counts_usage else {}
    head = {**_head(reply, "chat.completion.chunk"), **usage}
    first = _prompt_ids(reply)
    for place, (made, message) in enumerate(zip(reply.completions, reply.messages, strict=True)):
        for delta in _deltas(message, _call_prefix(reply, place)):
            choice = {"index": place, "delta": delta, "logprobs": None, "finish_reason": None}
            yield _event({**head, "choices": [choice], **first})
            first = {}
        end = {"index": place, "delta": {}, "finish_reason": str(made.finish), **_evidence(reply, made)}
        yield _event({**head, "choices": [end]})
    if reply.request.counts_usage:
        yield _event({**head, "choices": [], "usage": _usage(reply)})
    yield "data: [DONE]\n\n"


def _deltas(message: Message, call_prefix: str) -> Iterator[Json]:
    wire = message_to_wire(message, call_prefix, raw_calls=True)
    yield {"role": "assistant", "content": ""}
    for words in re.findall(r"\s*\S+|\s+", wire["content"] or ""):
        yield {"content": words}
    for place, call in enumerate(wire.get("tool_calls", ())):
        yield {"tool_calls": [{"index": place, **call}]}


def _head(reply: Reply, kind: str) -> Json:
    return {
        "id": reply.answer_id,
        "object": kind,
        "created": reply.created_s,
        "model": reply.request.model,
        "evolvent_version": reply.version,
        "evolvent_logprobs": "sampled",
    }


def _prompt_ids(reply: Reply) -> Json:
    return {"prompt_token_ids": list(reply.prompt_ids or ())} if reply.request.wants_ids else {}


def _evidence(reply: Reply, made: Completion) -> Json:
    """Token ids and log-probabilities as sampled, the end mark in both: one entry per id, never re-made from text."""
    evidence: Json = {"logprobs": None}
    if reply.request.wants_logprobs:
        pairs = zip(made.tokens, made.sampled_logprobs, strict=True)
        evidence["logprobs"] = {"content": [_entry(reply, *pair) for pair in pairs], "refusal": None}
        evidence["evolvent_model_logprobs"] = list(made.model_logprobs)
    if reply.request.wants_ids:
        evidence["token_ids"] = list(made.tokens)
    return evidence


def _entry(reply: Reply, token: int, logprob: float) -> Json:
    text = reply.token_text((token,)) if reply.token_text else ""
    # half a character has no bytes of its own that text could tell
    code = None if "\ufffd" in text else list(text.encode())
    return {"token": text, "logprob": logprob, "bytes": code, "top_logprobs": []}


def _usage(reply: Reply) -> Json:
    num_prompt = len(reply.prompt_ids) if reply.prompt_ids is not None else reply.completions[0].prompt_tokens
    num_made = sum(len(made.tokens) for made in reply.completions)
    return {"prompt_tokens": num_prompt, "completion_tokens": num_made, "total_tokens": num_prompt + num_made}


def _call_prefix(reply: Reply, place: int) -> str:
    return f"call_{reply.answer_id.removeprefix('chatcmpl-')}_{place}"


def _event(body: Json) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False, allow_nan=False)}\n\n"
