"""Says how often somebody may do something: a bucket of tokens for each, kept in this process."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from evolvent.hive.hub.refusals import Refused

MAX_BUCKETS = 50_000


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, and then so many a minute."""

    at_once: int
    per_minute: float


RATES = {
    "register": Rate(60, 30.0),  # by address
    "wrong token": Rate(20, 10.0),  # by address
    "wrong key": Rate(20, 10.0),  # by agent, as all below
    "submit": Rate(60, 60.0),
    "push": Rate(60, 60.0),
    "post": Rate(60, 30.0),
    "vote": Rate(120, 60.0),
    "claim": Rate(60, 30.0),
    "item": Rate(120, 60.0),
    "search": Rate(120, 120.0),
}


@dataclass
class Limits:
    """The buckets of one process; several processes count apart, so the true rate is at most so many times higher."""

    rates: dict[str, Rate] = field(default_factory=lambda: dict(RATES))
    _buckets: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def spend(self, kind: str, who: str) -> None:
        """Take one token; Refused with 429, and when to come again, where none is left."""
        rate = self.rates.get(kind)
        if rate is None:
            return
        with self._lock:
            wait_s = self._spend(rate, (kind, who))
        if wait_s > 0:
            raise Refused(
                429,
                f"too many: {kind}",
                got=f"more than {rate.at_once} at once",
                wanted=f"{rate.per_minute:g} a minute",
                cure=f"come again in {wait_s:.0f} s",
                retry_after_s=wait_s,
            )

    def check(self, kind: str, who: str) -> None:
        """Refused with 429 where nothing is left, without taking anything."""
        rate = self.rates.get(kind)
        if rate is not None and self._left(rate, (kind, who)) < 1:
            self.spend(kind, who)

    def _spend(self, rate: Rate, key: tuple[str, str]) -> float:
        left = self._left(rate, key)
        if left < 1:
            return max(1.0, (1 - left) * 60 / rate.per_minute)
        if len(self._buckets) >= MAX_BUCKETS:  # those that are full again say nothing
            full = [one for one in self._buckets if self._left(self.rates[one[0]], one) >= self.rates[one[0]].at_once]
            for one in full or list(self._buckets)[: MAX_BUCKETS // 2]:
                del self._buckets[one]
        self._buckets[key] = (left - 1, time.monotonic())
        return 0.0

    def _left(self, rate: Rate, key: tuple[str, str]) -> float:
        left, since = self._buckets.get(key, (float(rate.at_once), time.monotonic()))
        return min(float(rate.at_once), left + (time.monotonic() - since) * rate.per_minute / 60)
