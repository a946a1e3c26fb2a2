"""A chat endpoint in OpenAI's form over a policy: `/v1/chat/completions`, `/v1/models`, `/health`."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from evolvent.errors import BadInput, EvolventError
from evolvent.policies.policy import Policy
from evolvent.records import Completion, Message, Prompt, Sampling, Tool, said
from evolvent.seeds import derive
from evolvent.serve.queue import Queue
from evolvent.serve.reply import Reply, chunks, whole
from evolvent.serve.request import ChatRequest, read_request


class Renderer(Protocol):
    """Messages to token ids and back: models.render has the real one."""

    def open(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> tuple[int, ...]:
        """The whole prompt, the mark of the assistant's turn included."""
        ...

    def parse(self, tokens: Sequence[int], tools: Sequence[Tool] = ()) -> Message:
        """What a policy wrote."""
        ...

    def text(self, tokens: Sequence[int]) -> str:
        """Token ids as text."""
        ...


def make_app(
    policy: Policy, renderer: Renderer | None, model_name: str, *, seed: int = 0, default_max_tokens: int = 512
) -> FastAPI:
    """The app; without a renderer the policy gets messages only. Unseeded requests are keyed by (`seed`, number)."""
    app = FastAPI(title="evolvent", docs_url=None, redoc_url=None, openapi_url=None)
    desk = _Desk(policy, renderer, model_name, seed, default_max_tokens)
    started_s = int(time.time())

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        return await desk.answer(await request.body())

    @app.get("/v1/models")
    async def models() -> Response:
        model = {"id": model_name, "object": "model", "created": started_s, "owned_by": "evolvent"}
        if hasattr(policy, "max_context"):
            model["max_model_len"] = policy.max_context  # as vLLM says it, so that clients know what fits
        return JSONResponse({"object": "list", "data": [model]})

    @app.get("/health")
    async def health() -> Response:
        return JSONResponse({"status": "ok", "model": model_name, "version": getattr(policy, "version", 0)})

    @app.exception_handler(HTTPException)
    async def wrong_door(request: Request, error: HTTPException) -> Response:
        words = f"{request.method} {request.url.path}: {error.detail}"
        return _error(error.status_code, words, "invalid_request_error")

    return app


class _Desk:
    """Answers requests: reads them, asks the policy through the queue, writes the reply."""

    def __init__(
        self, policy: Policy, renderer: Renderer | None, model_name: str, seed: int, default_max_tokens: int
    ) -> None:
        self.policy, self.renderer, self.model_name = policy, renderer, model_name
        self.seed, self.default_max_tokens = seed, default_max_tokens
        self.queue = Queue(policy)
        self.numbers = itertools.count()
        # answers of two runs of the server must not share an id; nothing but ids depends on the clock
        self.started_ns = time.time_ns()

    async def answer(self, body: bytes) -> Response:
        """The response to a chat request, whatever is wrong with it."""
        try:
            request = read_request(_json(body))
            if request.model != self.model_name:
                words = f"the model {request.model!r} does not exist; this server has {self.model_name!r}"
                return _error(404, words, "invalid_request_error", "model", "model_not_found")
            reply = await self._reply(request)
        except BadInput as error:
            return _error(400, str(error), "invalid_request_error", error.where or None)
        except EvolventError as error:
            return _error(502, str(error), "server_error")
        except Exception as error:
            return _error(500, f"{type(error).__name__}: {error}", "server_error")
        headers = {"X-Evolvent-Version": str(reply.version)}
        if request.streams:
            return StreamingResponse(chunks(reply), media_type="text/event-stream", headers=headers)
        return JSONResponse(whole(reply), headers=headers)

    async def _reply(self, request: ChatRequest) -> Reply:
        number = next(self.numbers)
        tokens = self.renderer.open(request.messages, request.tools) if self.renderer else None
        # the client's seed names the stream, so that requests with different seeds still share a batch
        names = ("seed", request.seed) if request.seed is not None else ("request", number)
        max_tokens = self._room(request, tokens)
        asked = Prompt(request.messages, request.tools, tokens, max_tokens=max_tokens)
        prompts = [replace(asked, stream=("serve", *names, place)) for place in range(request.num_choices)]
        how = Sampling(max_tokens, request.temperature, request.top_p, request.top_k, self.seed)
        made = await self.queue.ask(prompts, how)
        _refuse_missing_ids(request, made, tokens)
        return Reply(
            request=request,
            answer_id=f"chatcmpl-{derive(self.started_ns, number):016x}",
            created_s=int(time.time()),
            completions=tuple(made),
            messages=tuple(self._message(completion, request) for completion in made),
            prompt_ids=tokens,
            token_text=self.renderer.text if self.renderer else None,
        )

    def _room(self, request: ChatRequest, tokens: tuple[int, ...] | None) -> int:
        """How many tokens an answer may have: the limit of the request, else the default or what the context leaves."""
        left = getattr(self.policy, "max_context", 1 << 30) - len(tokens or ())
        return request.max_tokens or max(1, min(self.default_max_tokens, left))

    def _message(self, made: Completion, request: ChatRequest) -> Message:
        if made.message is not None:
            return made.message
        if self.renderer is not None and made.tokens:
            return self.renderer.parse(made.tokens, request.tools)
        return said("assistant", made.text)


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadInput("the body is not JSON", where="body", got=f"{type(error).__name__}: {error}") from error


def _refuse_missing_ids(request: ChatRequest, made: Sequence[Completion], tokens: tuple[int, ...] | None) -> None:
    """Token ids or log-probabilities that were asked for and do not exist are an error, not an empty list."""
    if not (request.wants_ids or request.wants_logprobs):
        return
    if tokens is None or not all(c.tokens and len(c.sampled_logprobs) == len(c.tokens) for c in made):
        field = "return_token_ids" if request.wants_ids else "logprobs"
        raise BadInput(
            f"{field} is not supported: this policy gives no token ids with log-probabilities",
            where=field,
            cure="leave out return_token_ids and logprobs, or serve local weights",
        )


def _error(status: int, words: str, kind: str, param: str | None = None, code: str | None = None) -> Response:
    """An error in OpenAI's shape."""
    body = {"error": {"message": words, "type": kind, "param": param, "code": code}}
    return JSONResponse(body, status_code=status)
