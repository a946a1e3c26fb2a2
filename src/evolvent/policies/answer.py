"""Turns the HTTP answer of an OpenAI-compatible server into a Completion, keeping only what can be trusted."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

from evolvent.policies.wire import Json, message_from_wire
from evolvent.records import Completion, Finish, Message, Prompt, Sampling


class Ask(StrEnum):
    """What an endpoint is sent: messages, or the token ids of the prompt."""

    CHAT = "chat"
    IDS = "ids"


class LogprobsAre(StrEnum):
    """Which distribution a server's log-probabilities are of: after temperature and truncation, or before."""

    SAMPLED = "sampled"
    MODEL = "model"


class Passing(Exception):  # a signal between two files, never seen outside
    """A failure that may pass: the same request is worth another try."""

    def __init__(self, words: str, retry_after_s: float = 0.0) -> None:
        super().__init__(words)
        self.words, self.retry_after_s = words, retry_after_s


class Declined(Exception):  # likewise
    """The server read the request and refuses it."""

    def __init__(self, status: int, words: str, cure: str = "") -> None:
        super().__init__(words)
        self.status, self.words, self.cure = status, words, cure


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, in one shape for both endpoints; `usage` is (prompt, completion) tokens."""

    answer_id: str
    text: str
    message: Message | None
    finish: Finish
    token_ids: tuple[int, ...] | None
    prompt_ids: tuple[int, ...] | None
    logprobs: tuple[float, ...] | None
    model_logprobs: tuple[float, ...] | None
    meaning: LogprobsAre | None
    usage: tuple[int, int] | None
    version: int


FINISHES = {
    "stop": Finish.STOP,
    "eos": Finish.STOP,
    "eos_token": Finish.STOP,
    "stop_sequence": Finish.STOP,
    "tool_calls": Finish.CALL,
    "function_call": Finish.CALL,
    "length": Finish.LENGTH,
    "max_tokens": Finish.LENGTH,
}
CURES = {
    401: "check the key in the variable that api_key_env names",
    403: "check the key in the variable that api_key_env names",
    404: "check url (it ends in /v1 for most servers) and model",
}


def read_answer(status: int, headers: Mapping[str, str], text: str) -> Answer:
    """The answer; raises Passing where another try may help and Declined where it cannot."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    if status == 200 and error:  # some routers report the failure of their upstream inside a 200
        code = error.get("code") if isinstance(error, dict) else None
        status = code if isinstance(code, int) and code >= 400 else 502
    if status != 200:
        raise _failure(status, headers, f"HTTP {status}: {_server_words(error, text)}")
    try:
        return _answer(body, headers)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as fault:
        raise Passing(f"an answer that cannot be read ({type(fault).__name__}: {fault}): {text[:200]}") from fault


def completion(
    answer: Answer, prompt: Prompt, how: Sampling, logprobs_are: LogprobsAre | None, notes: list[str]
) -> Completion:
    """The answer as a completion; token ids that do not belong to this prompt are left out, and `notes` says so."""
    tokens, logprobs = _trusted(answer, prompt, notes)
    sampled, model = _kinds(answer, logprobs, how, logprobs_are)
    if logprobs and not sampled and not model:
        notes.append("log-probabilities left out: their temperature is unknown (set logprobs_are)")
    return Completion(
        tokens=tokens,
        text=answer.text,
        sampled_logprobs=sampled,
        model_logprobs=model,
        version=answer.version,
        finish=answer.finish,
        call_id=answer.answer_id,
        message=answer.message,
        prompt_tokens=answer.usage[0] if answer.usage else len(answer.prompt_ids or ()),
    )


def _trusted(answer: Answer, prompt: Prompt, notes: list[str]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Token ids and log-probabilities, both or neither."""
    ids, logprobs = answer.token_ids, answer.logprobs
    why = ""
    if ids is None:
        why = "the server gives none"
    elif prompt.tokens is not None and answer.prompt_ids is not None and answer.prompt_ids != prompt.tokens:
        why = "the server read the prompt as other tokens"
    elif logprobs is None:
        why = "the server gives no log-probabilities"
    elif len(logprobs) != len(ids):
        why = f"{len(ids)} ids and {len(logprobs)} log-probabilities"
    elif not all(map(math.isfinite, logprobs)):
        why = "a log-probability is not finite"
    if why:
        notes.append(f"token ids left out: {why}")
        return (), ()
    return ids or (), logprobs or ()


def _kinds(
    answer: Answer, logprobs: tuple[float, ...], how: Sampling, logprobs_are: LogprobsAre | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(sampled, model) log-probabilities; they coincide at temperature 1 without truncation, and only there."""
    given = answer.model_logprobs or ()
    model = given if len(given) == len(logprobs) else ()
    if how.temperature == 1 and how.top_p == 1 and how.top_k == 0:
        return logprobs, model or logprobs
    meaning = logprobs_are or answer.meaning
    if meaning is LogprobsAre.MODEL:
        return (), logprobs
    return (logprobs, model) if meaning is LogprobsAre.SAMPLED else ((), ())


def _answer(body: Any, headers: Mapping[str, str]) -> Answer:
    choice: Json = body["choices"][0]
    finish = _finish(choice.get("finish_reason"))
    usage = body.get("usage")
    meaning = body.get("evolvent_logprobs")
    message = message_from_wire(choice["message"], "choices[0].message") if "message" in choice else None
    if message is not None and message.calls and finish is Finish.STOP:
        finish = Finish.CALL
    prompt_ids = body.get("prompt_token_ids")
    return Answer(
        answer_id=str(body.get("id") or ""),
        text=message.text if message is not None else str(choice["text"]),
        message=message,
        finish=finish,
        token_ids=_ids(choice.get("token_ids")),
        prompt_ids=_ids(prompt_ids if prompt_ids is not None else choice.get("prompt_token_ids")),
        logprobs=_logprobs(choice.get("logprobs")),
        model_logprobs=_floats(choice.get("evolvent_model_logprobs")),
        meaning=LogprobsAre(meaning) if meaning else None,
        usage=(int(usage["prompt_tokens"]), int(usage["completion_tokens"])) if usage else None,
        version=int(headers.get("x-evolvent-version", body.get("evolvent_version", -1))),
    )


def _finish(reason: object) -> Finish:
    if reason not in FINISHES:
        raise Declined(200, f"the answer ended by {reason!r}", "change the task or the model: this is no attempt")
    return FINISHES[str(reason)]


def _ids(value: Any) -> tuple[int, ...] | None:
    if value is not None and not all(type(token) is int for token in value):
        raise ValueError(f"token ids {str(value)[:80]}")
    return None if value is None else tuple(value)


def _logprobs(value: Any) -> tuple[float, ...] | None:
    """One number per token, from the chat form (`content`) or the older one (`token_logprobs`)."""
    if not value:
        return None
    if value.get("content") is not None:
        return tuple(float(entry["logprob"]) for entry in value["content"])
    return _floats(value.get("token_logprobs"))


def _floats(value: Any) -> tuple[float, ...] | None:
    return None if value is None else tuple(float(number) for number in value)


def _failure(status: int, headers: Mapping[str, str], words: str) -> Passing | Declined:
    """Whether a failure may pass: timeouts, conflicts, too many requests (but not an empty purse), server errors."""
    if status >= 500 or (status in (408, 409, 425, 429) and "insufficient_quota" not in words):
        return Passing(words, _retry_after_s(headers.get("retry-after", "")))
    return Declined(status, words, CURES.get(status, "read the server's words above and change the request"))


def _retry_after_s(value: str) -> float:
    """Seconds from a Retry-After header, which holds a number or a date."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0


def _server_words(error: Any, text: str) -> str:
    """The server's explanation, short; the type and code of its error stay with it."""
    if isinstance(error, dict) and error.get("message"):
        marks = [str(error[key]) for key in ("type", "code", "param") if error.get(key)]
        return f"{error['message']} ({', '.join(marks)})"[:1000] if marks else str(error["message"])[:1000]
    return text.strip()[:1000] or "no words"
