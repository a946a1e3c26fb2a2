"""What the arms of one effect share while it runs: who watches, where cold starts are kept, which were reused."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CACHE_VARIABLE = "EVOLVENT_CACHE"


def default_cache() -> Path:
    """Where results that can be made again are kept: $EVOLVENT_CACHE, else the user's cache folder."""
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given).expanduser().absolute()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home and Path(home).is_absolute() else Path.home() / ".cache") / "evolvent"


def _silent(_: Mapping[str, Any]) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class Session:
    """One effect at one seed; `cold` gives for each cold start its seconds, and whether it was made here."""

    watch: Callable[[Mapping[str, Any]], None] = _silent
    cache: Path = field(default_factory=default_cache)
    cold: dict[str, tuple[float, bool]] = field(default_factory=dict)

    @property
    def cached_s(self) -> float:
        """Seconds that cold starts took elsewhere, which this session was spared."""
        return sum(seconds for seconds, made_here in self.cold.values() if not made_here)


_session: ContextVar[Session | None] = ContextVar("session", default=None)


def current() -> Session:
    """The session that runs, or a silent one."""
    return _session.get() or Session()


@contextmanager
def session(given: Session) -> Iterator[Session]:
    """Arms that run inside belong to this session."""
    token = _session.set(given)
    try:
        yield given
    finally:
        _session.reset(token)
