"""Samples any OpenAI-compatible server: a hosted model, vLLM, SGLang, llama.cpp, or `evolvent serve`."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from evolvent.errors import BadInput, EvolventError, InfrastructureError
from evolvent.policies.answer import Answer, Ask, Declined, LogprobsAre, Passing, completion, read_answer
from evolvent.policies.wire import Json, messages_to_wire, tools_to_wire
from evolvent.records import Completion, Prompt, Sampling, said
from evolvent.seeds import derive, stream

if TYPE_CHECKING:
    import httpx

MAX_WAIT_S = 60.0
"""A server that asks for a longer pause than this has to be tried by a person, later."""

OPTIONAL = ("return_token_ids", "logprobs", "seed", "max_tokens")
"""Fields that a server may refuse; what it refuses stands in the route of every completion."""


@dataclass
class _Door:
    """What is open while requests of one event loop are under way."""

    client: httpx.AsyncClient
    slots: asyncio.Semaphore
    num_users: int = 0


@dataclass
class _Known:
    """What was learned about the server: fields it refused, fields it took, and whether token ids came."""

    refused: frozenset[str] = frozenset()
    taken: frozenset[str] = frozenset()
    gives_token_ids: bool | None = None
    doors: dict[asyncio.AbstractEventLoop, _Door] = field(default_factory=dict)


@dataclass(frozen=True)
class Endpoint:
    """A policy behind `url` (which ends where `/chat/completions` would follow, usually in /v1).

    `ask` chooses what is sent: messages, or the token ids of the prompt. `logprobs_are` says what the server's
    log-probabilities mean away from temperature 1; None trusts only the server's own word on it.
    """

    url: str
    model: str
    name: str = "endpoint"
    api_key_env: str | None = None
    max_concurrent: int = 8
    timeout_s: float = 60.0
    max_tries: int = 5
    backoff_s: float = 0.5
    price_per_million: tuple[float, float] | None = None
    ask: Ask = Ask.CHAT
    logprobs_are: LogprobsAre | None = None
    _known: _Known = field(default_factory=_Known, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", _base_url(self.url))
        if min(self.max_concurrent, self.max_tries) < 1 or self.timeout_s <= 0 or self.backoff_s < 0:
            raise BadInput(
                "an endpoint with these limits can never answer",
                where=self.url,
                got=f"max_concurrent={self.max_concurrent} max_tries={self.max_tries} timeout_s={self.timeout_s}",
                wanted="at least one request at a time, one try, and a positive time",
            )

    @property
    def gives_token_ids(self) -> bool | None:
        """Whether the server returns token ids; None before the first answer."""
        return self._known.gives_token_ids

    async def sample(self, prompts: Sequence[Prompt], how: Sampling) -> list[Completion]:
        """One completion per prompt, in order; a prompt that gets none raises InfrastructureError for all."""
        async with self._open() as door:
            tasks = [asyncio.ensure_future(self._one(door, p, how, p.stream or (i,))) for i, p in enumerate(prompts)]
            try:
                return list(await asyncio.gather(*tasks))
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def check(self) -> dict[str, Any]:
        """One token asked for once: {ok, what, cure} and what the server can do."""
        once = replace(self, max_tries=1)
        prompt = Prompt((said("user", "ping"),), tokens=(1,) if self.ask is Ask.IDS else None)
        try:
            [found] = asyncio.run(once.sample([prompt], Sampling(max_tokens=1)))
        except EvolventError as error:
            return {"ok": False, "what": error.what, "got": str(error.got or ""), "cure": error.cure}
        gives = once.gives_token_ids
        return {"ok": True, "what": found.route, "cure": "", "gives_token_ids": gives, "version": found.version}

    async def _one(self, door: _Door, prompt: Prompt, how: Sampling, names: tuple[str | int, ...]) -> Completion:
        body = self._body(prompt, how, names)
        async with door.slots:
            answer = await self._negotiate(door, body, how.seed, names)
        notes = [f"without {name}" for name in OPTIONAL if name in self._known.refused]
        made = completion(answer, prompt, how, self.logprobs_are, notes)
        if self.ask is Ask.IDS and not made.tokens:
            raise self._broken("; ".join(notes), "token_ids and one log-probability for each", "set ask=chat")
        return replace(
            made,
            call_id=made.call_id or f"{self.name}-{derive(how.seed, 'call', *names):016x}",
            cost=self._cost(answer),
            route="; ".join((f"{self.model} at {self.url}", *notes)),
        )

    def _body(self, prompt: Prompt, how: Sampling, names: tuple[str | int, ...]) -> Json:
        """The request, with everything optional in it."""
        body: Json = {"model": self.model, "temperature": how.temperature, "top_p": how.top_p}
        body |= {"max_tokens": prompt.room(how), "seed": derive(how.seed, *names) % 2**31, "return_token_ids": True}
        if how.top_k:
            body["top_k"] = how.top_k
        if prompt.stops:
            body["stop"] = list(prompt.stops)
        if self.ask is Ask.IDS:
            if prompt.tokens is None:
                raise BadInput(
                    "this endpoint is asked by token ids and the prompt has none",
                    where=self.url,
                    wanted="Prompt.tokens",
                    cure="render the messages, or set ask=chat",
                )
            return {**body, "prompt": list(prompt.tokens), "logprobs": 1}
        body |= {"messages": messages_to_wire(prompt.messages), "logprobs": True}
        return {**body, "tools": tools_to_wire(prompt.tools)} if prompt.tools else body

    async def _negotiate(self, door: _Door, body: Json, seed: int, names: tuple[str | int, ...]) -> Answer:
        """The answer, with the optional fields left out that this server refuses; they are kept once it answers."""
        refused = self._known.refused
        while True:
            sent = _without(body, refused)
            try:
                answer = await self._ask_patiently(door, sent, seed, names)
            except Declined as declined:
                blamed = self._blame(declined, sent)
                if not blamed:
                    raise self._broken(declined.words, "a request that the server accepts", declined.cure) from declined
                refused |= blamed
                continue
            known = self._known
            known.refused |= refused
            known.taken |= frozenset(sent)
            known.gives_token_ids = answer.token_ids is not None
            return answer

    def _blame(self, declined: Declined, sent: Json) -> frozenset[str]:
        """Optional fields behind a refusal: those the server names, else the two of token truth until once taken."""
        if declined.status not in (400, 422):
            return frozenset()
        open_fields = [name for name in OPTIONAL if name in sent and name not in self._known.taken]
        named = frozenset(name for name in open_fields if re.search(rf"\b{name}\b", declined.words))
        if "max_completion_tokens" not in declined.words:
            named -= {"max_tokens"}
        return named or frozenset(open_fields) & {"return_token_ids", "logprobs"}

    async def _ask_patiently(self, door: _Door, body: Json, seed: int, names: tuple[str | int, ...]) -> Answer:
        """The answer after at most `max_tries` tries; the pauses grow, and their jitter is keyed like a sample."""
        import httpx

        path = f"{self.url}/completions" if self.ask is Ask.IDS else f"{self.url}/chat/completions"
        pauses = stream(seed, "pause", *names)
        for attempt in range(1, self.max_tries + 1):
            asked_s = 0.0
            try:
                async with asyncio.timeout(self.timeout_s):
                    reply = await door.client.post(path, json=body, headers=self._headers())
                return read_answer(reply.status_code, reply.headers, reply.text)
            except (httpx.TransportError, TimeoutError) as error:
                words = f"{type(error).__name__}: {error or f'no answer within {self.timeout_s:g} s'}"
            except Passing as passing:
                words, asked_s = passing.words, passing.retry_after_s
            if asked_s > MAX_WAIT_S:
                raise self._broken(words, f"a pause of at most {MAX_WAIT_S:g} s", f"try again in {asked_s:g} s")
            if attempt < self.max_tries:
                grown_s = min(self.backoff_s * 2 ** (attempt - 1), MAX_WAIT_S) * (0.5 + pauses.random())
                await asyncio.sleep(max(asked_s, grown_s))
        cure = "check that the server is up and has room; raise timeout_s or max_tries, or lower max_concurrent"
        raise self._broken(words, f"an answer in {self.max_tries} tries", cure)

    def _broken(self, words: str, wanted: str, cure: str) -> InfrastructureError:
        """The server's own words as a fault, without the key that some servers repeat."""
        key = os.environ.get(self.api_key_env or "", "")
        said_by_server = words.replace(key, "[key]") if key else words
        where = f"{self.model} at {self.url}"
        return InfrastructureError(
            "the endpoint gave no answer", where=where, got=said_by_server, wanted=wanted, cure=cure
        )

    def _headers(self) -> dict[str, str]:
        if self.api_key_env is None:
            return {}
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise BadInput(
                f"the environment variable {self.api_key_env} is empty",
                where=self.url,
                wanted="the key of the endpoint",
                cure=f"export {self.api_key_env}=..., or set api_key_env=null where no key is needed",
            )
        return {"Authorization": f"Bearer {key}"}

    def _cost(self, answer: Answer) -> float:
        """What the answer cost, in the unit of the prices."""
        if self.price_per_million is None:
            return 0.0
        if answer.usage is None:
            raise self._broken("an answer without usage", "the token counts that the price applies to", "set no price")
        return sum(price * num for price, num in zip(self.price_per_million, answer.usage, strict=True)) / 1e6

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[_Door]:
        """The connections of this event loop: shared by calls under way, closed by the last of them."""
        import httpx

        doors, loop = self._known.doors, asyncio.get_running_loop()
        if loop not in doors:
            limits = httpx.Limits(max_connections=self.max_concurrent, max_keepalive_connections=self.max_concurrent)
            client = httpx.AsyncClient(timeout=httpx.Timeout(self.timeout_s), limits=limits)
            doors[loop] = _Door(client, asyncio.Semaphore(self.max_concurrent))
        door = doors[loop]
        door.num_users += 1
        try:
            yield door
        finally:
            door.num_users -= 1
            if door.num_users == 0:
                del doors[loop]
                await door.client.aclose()


def _without(body: Json, refused: frozenset[str]) -> Json:
    """The body without refused fields; `max_tokens` goes under its newer name."""
    kept = {name: value for name, value in body.items() if name not in refused}
    return {**kept, "max_completion_tokens": body["max_tokens"]} if "max_tokens" in refused else kept


def _base_url(url: str) -> str:
    """The URL without a trailing slash, checked."""
    bare = url.rstrip("/")
    if not re.match(r"https?://[^/@\s]+(/[^@\s]*)?$", bare) or bare.endswith("/completions"):
        raise BadInput(
            "not the base URL of an endpoint",
            got=re.sub(r"//[^/@]*@", "//[key]@", url),
            wanted="http(s)://host[:port]/v1, without a key and without /chat/completions",
            cure="name the key's environment variable in api_key_env",
        )
    return bare
