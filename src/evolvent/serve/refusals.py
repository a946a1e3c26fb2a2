"""What goes wrong at the door, and the status and body in OpenAI's shape that tell it."""

from __future__ import annotations

import json

from fastapi.responses import JSONResponse, Response

from evolvent.errors import BadInput, EvolventError, InfrastructureError


class Busy(InfrastructureError):
    """More is waiting than the queue holds; the same request is welcome after `retry_after_s`."""

    def __init__(self, what: str, retry_after_s: int) -> None:
        super().__init__(what, cure=f"try again in {retry_after_s} s, with fewer requests at once")
        self.retry_after_s = retry_after_s


class Missing(EvolventError):
    """What was asked for by name does not exist here."""

    def __init__(self, what: str, *, param: str, code: str, cure: str = "") -> None:
        super().__init__(what, where=param, cure=cure)
        self.param, self.code = param, code


def refusal(error: Exception) -> Response:
    """The answer to a request that failed so: the client's mistake, no room, or trouble of our own."""
    headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, Busy) else None
    return JSONResponse(told(error), status_code=status_of(error), headers=headers)


def status_of(error: Exception) -> int:
    """The HTTP status that says whose trouble an error is."""
    kinds = ((BadInput, 400), (Missing, 404), (Busy, 429), (EvolventError, 502))
    return next((status for kind, status in kinds if isinstance(error, kind)), 500)


def told(error: Exception) -> dict[str, object]:
    """An error as the body of an answer, or of the last event of a stream."""
    if isinstance(error, BadInput):
        return shaped(str(error), "invalid_request_error", error.where or None)
    if isinstance(error, Missing):
        return shaped(error.what, "invalid_request_error", error.param, error.code)
    if isinstance(error, Busy):
        return shaped(str(error), "rate_limit_error", None, "queue_full")
    words = str(error) if isinstance(error, EvolventError) else f"{type(error).__name__}: {error}"
    return shaped(words, "server_error")


def shaped(words: str, kind: str, param: str | None = None, code: str | None = None) -> dict[str, object]:
    """An error in OpenAI's shape."""
    return {"error": {"message": words, "type": kind, "param": param, "code": code}}


def read_json(body: bytes) -> object:
    """The JSON of a body; BadInput where it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadInput("the body is not JSON", where="body", got=f"{type(error).__name__}: {error}") from error
