"""Keeps rendered answers for as long as nothing has changed that they say."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from evolvent.hive.hub.times import now

MAX_BYTES = 64 * 2**20
FOREVER = "9999"


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes of an answer; `until` is the moment from which it is wrong by itself, such as the end of a claim."""

    body: bytes
    until: str = FOREVER


@dataclass
class Answers:
    """The answers of one process, by what was asked and the version of what they were made from; old ones go first."""

    max_bytes: int = MAX_BYTES
    _kept: OrderedDict[Hashable, tuple[Hashable, Answer]] = field(default_factory=OrderedDict)
    _num_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, key: Hashable, version: Hashable, make: Callable[[], Answer]) -> bytes:
        """The answer to `key` in this version: the kept one, or the one that `make` makes."""
        with self._lock:
            found = self._kept.get(key)
            if found and found[0] == version and found[1].until > now():
                self._kept.move_to_end(key)
                return found[1].body
        answer = make()
        with self._lock:
            self._keep(key, version, answer)
        return answer.body

    def _keep(self, key: Hashable, version: Hashable, answer: Answer) -> None:
        old = self._kept.pop(key, None)
        self._num_bytes += len(answer.body) - (len(old[1].body) if old else 0)
        self._kept[key] = (version, answer)
        while self._num_bytes > self.max_bytes and len(self._kept) > 1:
            self._num_bytes -= len(self._kept.popitem(last=False)[1][1].body)
