"""Counts what the door does, and tells it in Prometheus' text form."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

Labels = tuple[str, ...]

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass
class Counter:
    """A number that only grows, for every combination of its labels."""

    name: str
    words: str
    labels: Labels = ()
    values: dict[Labels, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, amount: float, *labels: str) -> None:
        """Grow; each combination of labels is written by one thread only, so that no addition gets lost."""
        self.values[labels] += amount

    def lines(self) -> Iterator[str]:
        """The lines of the text form."""
        yield from _head(self.name, self.words, "counter")
        for labels, value in sorted(self.values.items()):
            yield f"{self.name}{_worded(self.labels, labels)} {_number(value)}"


@dataclass
class Histogram:
    """How often values lay below each bound, their sum and their number."""

    name: str
    words: str
    bounds: tuple[float, ...]
    labels: Labels = ()
    counts: dict[Labels, list[int]] = field(default_factory=dict)
    sums: dict[Labels, float] = field(default_factory=lambda: defaultdict(float))

    def observe(self, value: float, *labels: str) -> None:
        """Count one value."""
        counts = self.counts.setdefault(labels, [0] * (len(self.bounds) + 1))
        counts[bisect_left(self.bounds, value)] += 1
        self.sums[labels] += value

    def lines(self) -> Iterator[str]:
        """The lines of the text form."""
        yield from _head(self.name, self.words, "histogram")
        for labels, counts in sorted(self.counts.items()):
            total = 0
            for bound, count in zip((*map(_number, self.bounds), "+Inf"), counts, strict=True):
                total += count
                yield f"{self.name}_bucket{_worded((*self.labels, 'le'), (*labels, bound))} {total}"
            yield f"{self.name}_sum{_worded(self.labels, labels)} {_number(self.sums[labels])}"
            yield f"{self.name}_count{_worded(self.labels, labels)} {total}"


class Meters:
    """All that is counted at one door; `gauges` are asked when somebody looks."""

    def __init__(self) -> None:
        self.requests = Counter("evolvent_requests_total", "Requests answered.", ("route", "status"))
        self.tokens = Counter("evolvent_tokens_total", "Tokens read and written.", ("kind",))
        self.seconds = Counter("evolvent_part_seconds_total", "Time by part of the work.", ("part",))
        self.cpu_seconds = Counter("evolvent_part_cpu_seconds_total", "Processor time by part of the work.", ("part",))
        self.latency = Histogram("evolvent_request_seconds", "Time from request to answer.", SECONDS, ("route",))
        self.rows = Histogram("evolvent_batch_rows", "Prompts sampled in one call of the policy.", ROWS)
        self.gauges: Mapping[str, tuple[str, Callable[[], float]]] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time and processor time of a block that does not wait."""
        start_s, start_cpu_s = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.seconds.add(time.perf_counter() - start_s, name)
            self.cpu_seconds.add(time.thread_time() - start_cpu_s, name)

    def text(self) -> str:
        """Everything in Prometheus' text form."""
        lines: list[str] = []
        for meter in vars(self).values():
            if isinstance(meter, Counter | Histogram):
                lines += meter.lines()
        for name, (words, value) in self.gauges.items():
            lines += [*_head(name, words, "gauge"), f"{name} {_number(value())}"]
        return "\n".join(lines) + "\n"


def _head(name: str, words: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {words}"
    yield f"# TYPE {name} {kind}"


def _worded(names: Labels, values: Labels) -> str:
    escaped = (v.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for v in values)
    pairs = ",".join(f'{name}="{value}"' for name, value in zip(names, escaped, strict=True))
    return f"{{{pairs}}}" if pairs else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
