"""What a worker reports of one artifact, read strictly: numbers are finite, or there are none."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Any

from evolvent.errors import BadInput
from evolvent.hive.sealed import Outcome, SealedResult

MAX_SEEDS, MAX_CASES = 4096, 100_000
WORDS = ("why", "log", "tree_digest", "tier")


@dataclass(frozen=True, slots=True)
class Report:
    """One artifact as measured: a list of cases for each seed, or why there is none."""

    outcome: Outcome
    by_seed: tuple[tuple[float, ...], ...] = ()
    why: str = ""
    log: str = ""
    tree_digest: str = ""
    seconds: float = 0.0
    tier: str = ""

    @property
    def is_scored(self) -> bool:
        """Whether there is a number."""
        return self.outcome is Outcome.SCORED

    @property
    def numbers(self) -> list[float]:
        """One number for each seed."""
        return [statistics.fmean(cases) for cases in self.by_seed] if self.is_scored else []

    @property
    def cases(self) -> list[float]:
        """All cases of all seeds."""
        return [case for cases in self.by_seed for case in cases] if self.is_scored else []

    @property
    def value(self) -> float | None:
        """The mean over the seeds."""
        return statistics.fmean(self.numbers) if self.is_scored else None


def tell_report(result: SealedResult) -> dict[str, Any]:
    """A measurement as JSON; seeds stay where they are known."""
    return {
        "outcome": result.outcome.value,
        "by_seed": [list(one.cases) for one in result.seeds] if result.outcome is Outcome.SCORED else [],
        "why": _whole(result.why),
        "log": _whole("\n".join(one.log for one in result.seeds if one.log)[-16_000:]),
        "tree_digest": result.tree_digest,
        "seconds": sum(one.wall_s for one in result.seeds),
        "tier": result.tier,
    }


def read_report(said: object) -> Report:
    """A report from JSON; BadInput where it is none."""
    if not isinstance(said, dict) or said.get("outcome") not in ("scored", "invalid"):
        raise BadInput("this is no report", where="result", got=ascii(said)[:80], wanted="outcome: scored | invalid")
    seconds = said.get("seconds", 0.0)
    if not _is_number(seconds) or seconds < 0:
        raise BadInput("no time that a measurement took", where="result.seconds", got=ascii(seconds)[:40])
    by_seed = said.get("by_seed", [])
    is_scored = said["outcome"] == "scored"
    good = isinstance(by_seed, list) and len(by_seed) <= MAX_SEEDS
    good = good and all(
        isinstance(one, list) and 0 < len(one) <= MAX_CASES and all(map(_is_number, one)) for one in by_seed
    )
    if not good or bool(by_seed) != is_scored:
        wanted = "a list of finite numbers for each seed, and none where it is invalid"
        raise BadInput("these are no numbers", where="result.by_seed", got=ascii(by_seed)[:80], wanted=wanted)
    words = {name: _whole(str(said.get(name, ""))[:16_000].replace("\0", "")) for name in WORDS}
    rows = tuple(tuple(map(float, one)) for one in by_seed)
    return Report(Outcome(said["outcome"]), rows, seconds=float(seconds), **words)


def _whole(text: str) -> str:
    """A text without halves of characters, which JSON can say and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)
