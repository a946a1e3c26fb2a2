"""Turns an answer in the making into server-sent events: a chunk per decoded token, and the reason of the end."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from evolvent.policies.wire import Json, message_to_wire
from evolvent.records import Completion
from evolvent.serve.meters import Meters
from evolvent.serve.queue import Heard
from evolvent.serve.refusals import told
from evolvent.serve.reply import Opening, Reply, call_prefix, columns, entry, head, prompt_ids, usage
from evolvent.serve.request import ChatRequest
from evolvent.serve.spelling import Gate


class Feed:
    """An ear that keeps what it hears until it is written out; `done` ends it."""

    def __init__(self) -> None:
        self.opening: Opening | None = None
        self._heard: list[Heard] = []
        self._news = asyncio.Event()
        self._is_done = False

    def open(self, opening: Opening) -> None:
        """See Ear."""
        self.opening = opening

    def hear(self, heard: Sequence[Heard]) -> None:
        """See Ear."""
        self._heard += heard
        self._news.set()

    def done(self, _: object = None) -> None:
        """Nothing more will come."""
        self._is_done = True
        self._news.set()

    async def next(self) -> list[Heard]:
        """What has come since; nothing at the end."""
        if not self._heard and not self._is_done:
            self._news.clear()
            await self._news.wait()
        heard, self._heard = self._heard, []
        return heard


async def events(feed: Feed, answer: asyncio.Task[Reply], first: Sequence[Heard], meters: Meters) -> AsyncIterator[str]:
    """All events of an answer, from its first tokens on; an error on the way is the last of them."""
    heard: Sequence[Heard] = first
    writer: Writer | None = None
    try:
        while heard:
            with meters.part("render"):
                assert feed.opening is not None
                writer = writer or Writer(feed.opening, heard[0].version)
                out = "".join(writer.tokens(heard))
            yield out
            heard = await feed.next()
        reply = await answer
        with meters.part("render"):
            out = "".join(_ending(writer or Writer(reply.opening, reply.version), reply, was_heard=bool(first)))
        yield out
    except Exception as error:
        yield _event(told(error))
    finally:
        answer.cancel()


def _ending(writer: Writer, reply: Reply, *, was_heard: bool) -> Iterator[str]:
    if not was_heard:  # a policy that cannot be heard is told token by token once it has ended
        yield from writer.tokens(_again(reply))
    yield from writer.end(reply)


def _again(reply: Reply) -> list[Heard]:
    return [
        Heard(place, *drawn, (), made.version)
        for place, made in enumerate(reply.completions)
        if len(made.tokens) == len(made.sampled_logprobs)
        for drawn in zip(made.tokens, made.sampled_logprobs, made.model_logprobs or made.sampled_logprobs, strict=True)
    ]


class Writer:
    """Writes the chunks of one answer: role, tokens as they come, rests and calls, the reasons of the ends, [DONE]."""

    def __init__(self, opening: Opening, version: int) -> None:
        self.asked, self.opening = opening.asked, opening
        self.is_chat = isinstance(opening.asked, ChatRequest)
        kind = "chat.completion.chunk" if self.is_chat else "text_completion"
        self.head: Json = head(opening, kind, version)
        if self.asked.counts_usage:
            self.head["usage"] = None
        self.first: Json = prompt_ids(opening)
        self.gates: dict[int, Gate] = {}
        self.opened: set[int] = set()

    def tokens(self, heard: Sequence[Heard]) -> Iterator[str]:
        """One chunk per token, with its words if they are free to go."""
        for one in heard:
            yield from self._begin(one.place)
            gate = self._gate(one.place)
            offset = gate.num_read if gate else 0
            words = gate.add(one.token) if gate else ""
            yield self._chunk(one.place, self._said(words), self._evidence(one, offset))

    def end(self, reply: Reply) -> Iterator[str]:
        """What is left of every choice, and the end."""
        for place, made in enumerate(reply.completions):
            yield from self._begin(place)
            for said in self._rests(reply, place):
                yield self._chunk(place, said, {"logprobs": None})
            yield self._last(place, made)
        if self.asked.counts_usage:
            yield _event({**self.head, "choices": [], "usage": usage(reply)})
        yield "data: [DONE]\n\n"

    def _begin(self, place: int) -> Iterator[str]:
        if place not in self.opened:
            self.opened.add(place)
            if self.is_chat:
                yield self._chunk(place, {"delta": {"role": "assistant", "content": ""}}, {"logprobs": None})

    def _gate(self, place: int) -> Gate | None:
        spelling = self.opening.spelling
        if place not in self.gates and spelling is not None:
            made = spelling.chat_gate if self.is_chat else spelling.text_gate
            self.gates[place] = made(self.asked.stops)
        return self.gates.get(place)

    def _rests(self, reply: Reply, place: int) -> Iterator[Json]:
        """Words that had to wait for the end, and calls, which are told whole."""
        message, gate = reply.messages[place], self.gates.get(place)
        if gate is not None:
            words = gate.rest(message.text)
            yield from ([self._said(words)] if words else [])
        else:
            yield from map(self._said, re.findall(r"\s*\S+|\s+", message.text))
        wire = message_to_wire(message, call_prefix(reply.answer_id, place), raw_calls=True) if self.is_chat else {}
        for number, call in enumerate(wire.get("tool_calls", ())):
            yield {"delta": {"tool_calls": [{"index": number, **call}]}}

    def _said(self, words: str) -> Json:
        return {"delta": {"content": words}} if self.is_chat else {"text": words}

    def _evidence(self, one: Heard, offset: int) -> Json:
        """Token id and log-probabilities of one token."""
        asked, spelling = self.asked, self.opening.spelling
        found: Json = {"logprobs": None}
        if asked.wants_logprobs and spelling is not None:
            if self.is_chat:
                content = [entry(spelling, one.token, one.sampled, one.top)]
                found["logprobs"] = {"content": content, "refusal": None}
            else:
                tops = [one.top] if asked.num_top else None
                found["logprobs"] = columns(spelling, [one.token], [one.sampled], tops, offsets=[offset])
            found["evolvent_model_logprobs"] = [one.model]
        return {**found, "token_ids": [one.token]} if asked.wants_ids else found

    def _chunk(self, place: int, said: Json, evidence: Json) -> str:
        first, self.first = self.first, {}
        return _event({**self.head, "choices": [{"index": place, **said, **evidence, "finish_reason": None}], **first})

    def _last(self, place: int, made: Completion) -> str:
        nothing: Json = {"delta": {}} if self.is_chat else {"text": ""}
        end = {"index": place, **nothing, "logprobs": None, "finish_reason": str(made.finish)}
        return _event({**self.head, "evolvent_version": made.version, "choices": [end]})


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False, allow_nan=False)}\n\n"
