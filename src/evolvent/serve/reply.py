"""Turns completions into the body that OpenAI's clients read, for messages and for bare text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evolvent.policies.wire import Json, message_to_wire
from evolvent.records import Completion, Message
from evolvent.serve.queue import Top
from evolvent.serve.request import ChatRequest, TextRequest
from evolvent.serve.spelling import Spelling

FLOOR = -9999.0
"""The log-probability of what cannot be drawn, as OpenAI writes it: JSON has no infinity."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What is known of an answer before its first token; `version` counts where it will have none."""

    asked: ChatRequest | TextRequest
    answer_id: str
    created_s: int
    prompts: tuple[tuple[int, ...] | None, ...]
    spelling: Spelling | None
    version: int = 0


@dataclass(frozen=True, slots=True)
class Scores:
    """Log-probabilities of the tokens of a prompt behind its first, at temperature 1, with their likeliest rivals."""

    logprobs: tuple[float, ...]
    tops: tuple[Top, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: completion i belongs to prompt i // n; messages are as the client reads them.

    `tops` has a list for each completion where likeliest tokens were asked for, `scores` one for each echoed prompt.
    """

    opening: Opening
    completions: tuple[Completion, ...]
    messages: tuple[Message, ...]
    tops: tuple[tuple[Top, ...], ...] = ()
    scores: tuple[Scores, ...] = ()

    @property
    def asked(self) -> ChatRequest | TextRequest:
        """The request."""
        return self.opening.asked

    @property
    def answer_id(self) -> str:
        """The id of the call on the wire."""
        return self.opening.answer_id

    @property
    def prompts(self) -> tuple[tuple[int, ...] | None, ...]:
        """Token ids of each prompt."""
        return self.opening.prompts

    @property
    def prompt_ids(self) -> tuple[int, ...] | None:
        """Token ids of the first prompt, the only one of a chat."""
        return self.opening.prompts[0]

    @property
    def version(self) -> int:
        """The version of the weights; the oldest where an update came between two choices."""
        return min((made.version for made in self.completions), default=self.opening.version)


def whole(reply: Reply) -> Json:
    """The answer to a chat request in one piece."""
    choices = [
        {
            "index": place,
            "message": {**message_to_wire(message, call_prefix(reply.answer_id, place), raw_calls=True)}
            | {"refusal": None},
            "finish_reason": str(made.finish),
            **_evidence(reply, place, made),
        }
        for place, (made, message) in enumerate(zip(reply.completions, reply.messages, strict=True))
    ]
    head_of = head(reply.opening, "chat.completion", reply.version)
    return {**head_of, "choices": choices, "usage": usage(reply), **prompt_ids(reply.opening)}


def _evidence(reply: Reply, place: int, made: Completion) -> Json:
    """Token ids and log-probabilities as sampled, the end mark in both: one entry per id, never re-made from text."""
    found: Json = {"logprobs": None}
    if reply.asked.wants_logprobs and reply.opening.spelling is not None:
        tops: Sequence[Top] = reply.tops[place] if reply.tops else [()] * len(made.tokens)
        drawn = zip(made.tokens, made.sampled_logprobs, tops, strict=True)
        entries = [entry(reply.opening.spelling, *one) for one in drawn]
        found["logprobs"] = {"content": entries, "refusal": None}
        found["evolvent_model_logprobs"] = list(made.model_logprobs)
    if reply.asked.wants_ids:
        found["token_ids"] = list(made.tokens)
    return found


def entry(spelling: Spelling, token: int, logprob: float, top: Top) -> Json:
    """One token in `logprobs.content`."""
    rivals = [_named(spelling, *rival) for rival in top]
    return {**_named(spelling, token, logprob), "top_logprobs": rivals}


def _named(spelling: Spelling, token: int, logprob: float) -> Json:
    text, code = spelling.token(token)
    return {"token": text, "logprob": logprob, "bytes": code}


def head(opening: Opening, kind: str, version: int) -> Json:
    """What every body and every chunk begins with."""
    return {
        "id": opening.answer_id,
        "object": kind,
        "created": opening.created_s,
        "model": opening.asked.model,
        "evolvent_version": version,
        "evolvent_logprobs": "sampled",
    }


def prompt_ids(opening: Opening) -> Json:
    """The token ids of the prompt, where asked for; of the first where there are several."""
    return {"prompt_token_ids": list(opening.prompts[0] or ())} if opening.asked.wants_ids else {}


def usage(reply: Reply) -> Json:
    """Tokens read and written."""
    num_prompt, num_made = count_tokens(reply)
    return {"prompt_tokens": num_prompt, "completion_tokens": num_made, "total_tokens": num_prompt + num_made}


def count_tokens(reply: Reply) -> tuple[int, int]:
    """Tokens read and written; each prompt is counted once, however many choices it has."""
    step = reply.asked.num_choices
    told = [made.prompt_tokens for made in reply.completions[::step]] or [0] * len(reply.prompts)
    read = sum(n if ids is None else len(ids) for ids, n in zip(reply.prompts, told, strict=True))
    return read, sum(len(made.tokens) for made in reply.completions)


def call_prefix(answer_id: str, place: int) -> str:
    """How the ids of the calls of a choice begin."""
    return f"call_{answer_id.removeprefix('chatcmpl-')}_{place}"


# ---------------------------------------------------------------- bare text


def whole_text(reply: Reply) -> Json:
    """The answer to a text request in one piece."""
    assert isinstance(reply.asked, TextRequest)
    each = reply.asked.num_choices
    choices = [_text_choice(reply, place, place // each) for place in range(len(reply.prompts) * each)]
    head_of = head(reply.opening, "text_completion", reply.version)
    return {**head_of, "choices": choices, "usage": usage(reply), **prompt_ids(reply.opening)}


def _text_choice(reply: Reply, place: int, prompt: int) -> Json:
    asked, spelling = reply.asked, reply.opening.spelling
    assert isinstance(asked, TextRequest) and spelling is not None
    made = reply.completions[place] if reply.completions else None
    echoed = reply.prompts[prompt] or () if asked.echoes else ()
    words = spelling.renderer.text(echoed) if echoed else ""
    choice: Json = {
        "index": place,
        "text": words + (reply.messages[place].text if made else ""),
        "finish_reason": str(made.finish) if made else "length",
        "logprobs": None,
    }
    if asked.wants_logprobs:
        choice["logprobs"] = _echoed(reply, place, prompt) if asked.echoes else _drawn(reply, place)
        choice["evolvent_model_logprobs"] = list(made.model_logprobs) if made else []
    if asked.wants_ids:
        choice["token_ids"] = list(made.tokens) if made else []
        choice["prompt_token_ids"] = list(reply.prompts[prompt] or ())
    return choice


def _drawn(reply: Reply, place: int) -> Json:
    spelling, made = reply.opening.spelling, reply.completions[place]
    assert spelling is not None
    return columns(
        spelling, made.tokens, made.sampled_logprobs, _tops_of(reply, place), offsets=spelling.offsets(made.tokens)
    )


def _echoed(reply: Reply, place: int, prompt: int) -> Json:
    """The same for the prompt and what follows; nothing predicts the first token."""
    spelling, score = reply.opening.spelling, reply.scores[prompt]
    assert spelling is not None
    made = reply.completions[place] if reply.completions else None
    tokens = (*(reply.prompts[prompt] or ()), *(made.tokens if made else ()))
    logprobs = (None, *score.logprobs, *(made.sampled_logprobs if made else ()))
    after = _tops_of(reply, place) if made else ()
    rivals = None if after is None else (None, *score.tops, *after)
    return columns(spelling, tokens, logprobs, rivals, offsets=spelling.offsets(tokens))


def _tops_of(reply: Reply, place: int) -> tuple[Top, ...] | None:
    return (reply.tops[place] if reply.tops else ()) if reply.asked.num_top else None


def columns(
    spelling: Spelling,
    tokens: Sequence[int],
    logprobs: Sequence[float | None],
    tops: Sequence[Top | None] | None,
    *,
    offsets: Sequence[int],
) -> Json:
    """Log-probabilities in the older form: lists side by side, one entry per token."""
    shown = [max(FLOOR, value) if value is not None else None for value in logprobs]
    rivals: list[Mapping[str, float] | None] | None = None
    if tops is not None:
        drawn = zip(tokens, shown, tops, strict=True)
        rivals = [None if top is None else _rivals(spelling, token, own, top) for token, own, top in drawn]
    texts = [spelling.label(token) for token in tokens]
    return {"tokens": texts, "token_logprobs": shown, "top_logprobs": rivals, "text_offset": list(offsets)}


def _rivals(spelling: Spelling, token: int, own: float | None, top: Top) -> dict[str, float]:
    """The likeliest tokens, and the drawn one, by their text."""
    drawn = {} if own is None else {spelling.label(token): own}
    return {**{spelling.label(rival): value for rival, value in top}, **drawn}
