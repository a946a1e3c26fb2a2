"""Answers requests: makes prompts of them, asks the policy through the queue, and hands back completions."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from evolvent.errors import BadInput
from evolvent.policies.policy import Policy
from evolvent.policies.transcript import first_stop
from evolvent.records import Completion, Finish, Message, Prompt, Sampling, Text, said
from evolvent.seeds import derive
from evolvent.serve.meters import Meters
from evolvent.serve.queue import Heard, Queue, Top
from evolvent.serve.refusals import Missing
from evolvent.serve.reply import Opening, Reply, Scores, count_tokens
from evolvent.serve.request import ChatRequest, TextRequest
from evolvent.serve.spelling import Renderer, Spelling

Prompts = Sequence[tuple[int, ...] | None]
"""Token ids of each prompt of a request; None where the policy reads messages only."""


class Ear(Protocol):
    """Hears an answer while it is made; both are called in the event loop."""

    def open(self, opening: Opening) -> None:
        """What is known before the first token."""
        ...

    def hear(self, heard: Sequence[Heard]) -> None:
        """What one step of decoding brought."""
        ...


class Desk(Protocol):
    """What stands behind the door: answers parsed requests."""

    model_name: str
    meters: Meters

    def facts(self) -> dict[str, Any]:
        """What clients may know of the policy: `version`, and `max_context` where it has one."""
        ...

    async def answer(self, asked: ChatRequest | TextRequest, session: str | None, ear: Ear | None) -> Reply:
        """The reply; cancelled where the client goes away. BadInput, Missing and Busy are told as such."""
        ...


class PolicyDesk:
    """A desk over any policy, without a renderer one that reads messages only.

    Unseeded requests are keyed by (`seed`, number). It remembers nothing between requests, so it refuses sessions.
    """

    def __init__(
        self,
        policy: Policy,
        renderer: Renderer | None,
        model_name: str,
        *,
        seed: int = 0,
        default_max_tokens: int = 512,
        max_queue: int = 256,
    ) -> None:
        self.policy, self.renderer, self.model_name = policy, renderer, model_name
        self.seed, self.default_max_tokens = seed, default_max_tokens
        self.spelling = Spelling(renderer) if renderer is not None else None
        self.meters = Meters()
        self.queue = Queue(policy, self.meters, max_queue)
        self.meters.gauges = {"evolvent_queue_prompts": ("Prompts that wait.", lambda: self.queue.num_waiting)}
        self.numbers = itertools.count()
        # answers of two runs of the server must not share an id; nothing but ids depends on the clock
        self.started_ns = time.time_ns()

    def facts(self) -> dict[str, Any]:
        """See Desk."""
        context = {"max_context": self.policy.max_context} if hasattr(self.policy, "max_context") else {}
        return {"version": getattr(self.policy, "version", 0), **context}

    async def answer(self, asked: ChatRequest | TextRequest, session: str | None, ear: Ear | None) -> Reply:
        """See Desk."""
        if session is not None:
            raise BadInput(
                "this server keeps no sessions", where="session", got=session, cure="ask /v1 without X-Evolvent-Session"
            )
        self.check_model(asked.model)
        with self.meters.part("parse"):
            prompts = self.open(asked)
        return await self.speak(asked, prompts, ear)

    def check_model(self, model: str) -> None:
        """Raise Missing for any other model."""
        if model != self.model_name:
            words = f"the model {model!r} does not exist; this server has {self.model_name!r}"
            raise Missing(words, param="model", code="model_not_found")

    def open(self, asked: ChatRequest | TextRequest) -> list[tuple[int, ...] | None]:
        """The token ids of each prompt; a chat has one."""
        if isinstance(asked, ChatRequest):
            return [self.renderer.open(asked.messages, asked.tools) if self.renderer else None]
        if self.renderer is None:
            cure = "ask /v1/chat/completions, or serve local weights"
            raise BadInput("this policy reads messages only", where="prompt", cure=cure)
        plain = self.renderer.plain
        prompts = [plain(prompt) if isinstance(prompt, str) else prompt for prompt in asked.prompts]
        highest = getattr(self.policy, "vocab_size", 1 << 40) - 1
        for ids in prompts:
            if not ids or max(ids) > highest:
                got = f"id {max(ids)}" if ids else "no token"
                raise BadInput("not a prompt of this model", where="prompt", got=got, wanted=f"ids 0..{highest}")
        return list(prompts)

    async def speak(
        self,
        asked: ChatRequest | TextRequest,
        prompts: Prompts,
        ear: Ear | None,
        *,
        continues: str | None = None,
        names: tuple[str | int, ...] = (),
    ) -> Reply:
        """The reply to prompts that are token ids already, `asked.num_choices` completions for each.

        `names` stand in the random stream in place of the request's seed or number; `continues` is the call id of the
        completion that a prompt extends.
        """
        number = next(self.numbers)
        kind = "chatcmpl" if isinstance(asked, ChatRequest) else "cmpl"
        answer_id = f"{kind}-{derive(self.started_ns, number):016x}"
        version = int(self.facts()["version"])
        opening = Opening(asked, answer_id, int(time.time()), tuple(prompts), self.spelling, version)
        # the client's seed names the stream, so that requests with different seeds still share a batch
        names = names or (("seed", asked.seed) if asked.seed is not None else ("request", number))
        base = Prompt(*_words(asked), continues=continues, stops=asked.stops)
        asks = [replace(base, tokens=ids, max_tokens=self._room(asked, ids)) for ids in prompts]
        each = [replace(ask, stream=("serve", *names)) for ask in asks for _ in range(asked.num_choices)]
        each = [replace(ask, stream=(*ask.stream, place)) for place, ask in enumerate(each)]
        reply = await self._made(opening, each if asked.max_tokens != 0 else [], ear)
        read, written = count_tokens(reply)
        self.meters.tokens.add(read, "prompt")
        self.meters.tokens.add(written, "completion")
        return reply

    async def _made(self, opening: Opening, prompts: Sequence[Prompt], ear: Ear | None) -> Reply:
        asked, tops = opening.asked, _Tops(len(prompts))
        if ear is not None:
            ear.open(opening)
        made: list[Completion] = []
        if prompts:
            longest = max(prompt.max_tokens or 1 for prompt in prompts)
            how = Sampling(longest, asked.temperature, asked.top_p, asked.top_k, self.seed)
            hear = ear.hear if ear is not None else tops.hear if asked.num_top else None
            made = await self.queue.ask(prompts, how, hear, asked.num_top)
            _refuse_missing_ids(asked, made, opening.prompts)
        scores = await self._scores(opening) if isinstance(asked, TextRequest) and asked.echoes else ()
        with self.meters.part("render"):
            cut = [_cut(completion, self._message(completion, asked), asked.stops) for completion in made]
        return Reply(opening, tuple(c for c, _ in cut), tuple(m for _, m in cut), tops.read(), scores)

    async def _scores(self, opening: Opening) -> tuple[Scores, ...]:
        """What the policy thinks of each prompt itself, where log-probabilities were asked for."""
        asked, rows = opening.asked, [ids or () for ids in opening.prompts]
        if not asked.wants_logprobs:
            return ()
        score = getattr(self.policy, "score_now", None)
        if score is None:
            raise BadInput("this policy does not score prompts", where="echo", cure="serve local weights")
        most = self.facts().get("max_context", 1 << 30)
        if not all(0 < len(row) <= most for row in rows):
            got = f"{min(map(len, rows))} to {max(map(len, rows))} tokens"
            raise BadInput("a prompt does not fit", where="prompt", got=got, wanted=f"1 to {most} tokens")
        with_time = self.meters.part("sample")

        def judged() -> tuple[Scores, ...]:
            with with_time:
                return tuple(Scores(made.logprobs, made.tops) for made in score(rows, asked.num_top))

        return await self.queue.alone(judged)

    def _room(self, asked: ChatRequest | TextRequest, tokens: tuple[int, ...] | None) -> int:
        """How many tokens an answer may have: the limit of the request, else the default or what the context leaves."""
        left = getattr(self.policy, "max_context", 1 << 30) - len(tokens or ())
        return asked.max_tokens or max(1, min(self.default_max_tokens, left))

    def _message(self, made: Completion, asked: ChatRequest | TextRequest) -> Message:
        if isinstance(asked, TextRequest) and self.renderer is not None and made.tokens:
            is_over = made.tokens[-1] in self.renderer.stop_ids
            return said("assistant", self.renderer.text(made.tokens[:-1] if is_over else made.tokens))
        if made.message is not None:
            return made.message
        if self.renderer is not None and made.tokens:
            return self.renderer.parse(made.tokens, asked.tools if isinstance(asked, ChatRequest) else ())
        return said("assistant", made.text)


class _Tops:
    """Keeps the likeliest tokens of an answer that nobody hears before it is whole."""

    def __init__(self, num: int) -> None:
        self.rows: list[list[Top]] = [[] for _ in range(num)]

    def hear(self, heard: Sequence[Heard]) -> None:
        for one in heard:
            self.rows[one.place].append(one.top)

    def read(self) -> tuple[tuple[Top, ...], ...]:
        return tuple(map(tuple, self.rows)) if any(self.rows) else ()


def _words(asked: ChatRequest | TextRequest) -> tuple[tuple[Message, ...], tuple[Any, ...]]:
    return (asked.messages, asked.tools) if isinstance(asked, ChatRequest) else ((), ())


def _cut(made: Completion, message: Message, stops: Sequence[str]) -> tuple[Completion, Message]:
    """A completion and its message as the client reads it: without its first stop string and what follows."""
    at = first_stop(message.text, stops)
    if at == len(message.text):
        return made, message
    blocks: list[Any] = []
    for block in message.blocks:
        if isinstance(block, Text) and len(block.text) >= at:
            blocks += [Text(block.text[:at])] if at else []
            break
        blocks.append(block)
        at -= len(block.text) if isinstance(block, Text) else 0
    return replace(made, finish=Finish.STOP), Message(message.role, tuple(blocks))


def _refuse_missing_ids(asked: ChatRequest | TextRequest, made: Sequence[Completion], prompts: Prompts) -> None:
    """Token ids or log-probabilities that were asked for and do not exist are an error, not an empty list."""
    if not (asked.wants_ids or asked.wants_logprobs):
        return
    if None in prompts or not all(c.tokens and len(c.sampled_logprobs) == len(c.tokens) for c in made):
        field = "return_token_ids" if asked.wants_ids else "logprobs"
        raise BadInput(
            f"{field} is not supported: this policy gives no token ids with log-probabilities",
            where=field,
            cure="leave out return_token_ids and logprobs, or serve local weights",
        )
