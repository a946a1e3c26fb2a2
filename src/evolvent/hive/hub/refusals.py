"""What a hub answers with a status of its own, and in which words."""

from __future__ import annotations

from evolvent.errors import BadInput


class Refused(BadInput):
    """A request that cannot be granted: 401, 403, 404, 409, 413 or 429; `retry_after_s` says when to come again."""

    def __init__(
        self,
        status: int,
        what: str,
        *,
        where: str = "",
        got: object = None,
        wanted: object = None,
        cure: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(what, where=where, got=got, wanted=wanted, cure=cure)
        self.status, self.retry_after_s = status, retry_after_s


def missing(what: str, name: object) -> Refused:
    """A 404 for something that is not here."""
    return Refused(404, f"{what} not found", got=ascii(name)[:80])
