"""Moments as texts: ISO 8601 in UTC with microseconds, so that their order as texts is their order in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from evolvent.errors import BadInput


def now() -> str:
    """This moment."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def later(seconds: float) -> str:
    """The moment so many seconds from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="microseconds")


def read_moment(said: str, where: str) -> str:
    """A moment that somebody sent, in our form; without a zone it is taken for UTC."""
    try:
        moment = datetime.fromisoformat(said.replace(" ", "+"))
    except ValueError:
        wanted = "2026-01-31T12:00:00+00:00"
        raise BadInput("this is no moment", where=where, got=ascii(said)[:80], wanted=wanted) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC).isoformat(timespec="microseconds")
    except OverflowError:
        raise BadInput("this moment is out of reach", where=where, got=ascii(said)[:80]) from None
