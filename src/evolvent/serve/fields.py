"""Reads single fields of a request: what has another type or lies out of range is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evolvent.errors import BadInput, nearest

Given = Mapping[str, Any]

MAX_CHOICES = 128
"""OpenAI's own limit of `n`."""

MAX_TOP = 20
"""OpenAI's own limit of `top_logprobs`."""

MAX_STOPS = 4
"""OpenAI's own limit of `stop`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What every request has; `max_tokens` and `seed` are None where the client left them to the server.

    `num_top` asks for that many of the likeliest tokens beside each log-probability.
    """

    model: str
    temperature: float
    top_p: float
    top_k: int
    max_tokens: int | None
    num_choices: int
    seed: int | None
    stops: tuple[str, ...]
    streams: bool
    counts_usage: bool
    wants_logprobs: bool
    num_top: int
    wants_ids: bool


SHARED = ("model", "temperature", "top_p", "top_k", "n", "seed", "stop", "stream", "stream_options", "return_token_ids")
"""Fields of all requests that are read here."""

INERT: Mapping[str, tuple[Any, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "min_p": (0,),
    "logit_bias": ({},),
    "store": (False,),
    "service_tier": ("auto", "default"),
}
"""Fields that are understood only where they change nothing: the values that do so (null always does)."""


def shared(given: Given) -> dict[str, Any]:
    """The fields that all requests have, as arguments of Asked; lengths and log-probabilities are of each kind."""
    streams = truth(given, "stream")
    return {
        "model": _model(given),
        "temperature": _number(given, "temperature", 1.0, 0.0, 2.0),
        "top_p": _top_p(given),
        "top_k": max(0, whole(given, "top_k", 0, -1, 1 << 20)),
        "num_choices": whole(given, "n", 1, 1, MAX_CHOICES),
        "seed": whole(given, "seed", 0, -(1 << 63), (1 << 63) - 1) if "seed" in given else None,
        "stops": _stops(given),
        "streams": streams,
        "counts_usage": _counts_usage(given, streams),
        "wants_ids": truth(given, "return_token_ids"),
    }


def given_fields(body: object, read: tuple[str, ...], inert: Mapping[str, tuple[Any, ...]]) -> Given:
    """The fields of a body that are not null; one that is neither read nor without effect is refused."""
    if not isinstance(body, dict):
        raise BadInput("the body is not a JSON object", where="body", got=type(body).__name__)
    for name, value in body.items():
        if name in read or (name in inert and (value is None or _is_one_of(value, inert[name]))):
            continue
        if name in inert:
            wanted = " or ".join(map(repr, (*inert[name], None)))
            raise BadInput(f"{name} is not supported", where=name, got=repr(value)[:200], wanted=wanted)
        raise BadInput(
            f"unknown or unsupported field {name!r}",
            where=name,
            cure=nearest(name, [*read, *inert]) + " or leave it out",
        )
    return {name: value for name, value in body.items() if value is not None}


def truth(given: Given, name: str) -> bool:
    """True or false, which is also the default."""
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise BadInput(f"{name} is true or false", where=name, got=repr(value)[:200])
    return value


def whole(given: Given, name: str, default: int, low: int, high: int) -> int:
    """A whole number in a range."""
    value = given.get(name, default)
    if type(value) is not int or not low <= value <= high:
        raise BadInput(
            f"{name} is out of range", where=name, got=repr(value)[:200], wanted=f"a whole number {low}..{high}"
        )
    return value


def _is_one_of(value: object, harmless: tuple[Any, ...]) -> bool:
    # True is no number 1, and False no 0
    return any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in harmless)


def _model(given: Given) -> str:
    if not isinstance(given.get("model"), str):
        raise BadInput("no model", where="model", got=repr(given.get("model")), wanted="a name listed by /v1/models")
    return str(given["model"])


def _top_p(given: Given) -> float:
    top_p = _number(given, "top_p", 1.0, 0.0, 1.0)
    if top_p == 0:
        raise BadInput("top_p 0 keeps no token", where="top_p", wanted="0 < top_p <= 1", cure="temperature 0 is greedy")
    return top_p


def _stops(given: Given) -> tuple[str, ...]:
    value = given.get("stop", [])
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        raise BadInput("stop cannot be read", where="stop", got=repr(value)[:200], wanted="a string, or several")
    if len(stops) > MAX_STOPS:
        raise BadInput("too many stop strings", where="stop", got=len(stops), wanted=f"at most {MAX_STOPS}")
    return tuple(dict.fromkeys(stops))


def _counts_usage(given: Given, streams: bool) -> bool:
    options = given.get("stream_options", {})
    if not isinstance(options, dict) or set(options) - {"include_usage"} or (options and not streams):
        raise BadInput(
            "stream_options cannot be read",
            where="stream_options",
            got=repr(options)[:200],
            wanted='{"include_usage": true}, and only with stream=true',
        )
    return truth(options, "include_usage")


def _number(given: Given, name: str, default: float, low: float, high: float) -> float:
    value = given.get(name, default)
    if type(value) not in (int, float) or not low <= value <= high:
        raise BadInput(
            f"{name} is out of range", where=name, got=repr(value)[:200], wanted=f"a number {low:g}..{high:g}"
        )
    return float(value)
