"""Small texts for a screen: shares, sparklines, and words that cannot disturb a terminal."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"


def percent(value: float | None) -> str:
    """A share as a person reads it; None is a dash."""
    return "-" if value is None else f"{100 * value:.1f} %"


def printable(text: str) -> str:
    """The text with control characters made visible; line breaks stay."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def one_line(text: str, longest: int = 48) -> str:
    """A text on one line, cut to a length."""
    flat = printable(" ".join(text.split()))
    return flat if len(flat) <= longest else flat[: longest - 3] + "..."


def sparkline(values: Sequence[float], width: int = 40, low: float | None = None, high: float | None = None) -> str:
    """Values as a row of bars, neighbours averaged where there are more than `width`."""
    if not values:
        return ""
    num = min(width, len(values))
    cuts = [round(i * len(values) / num) for i in range(num + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(cuts)]
    bottom = min(means) if low is None else low
    top = max(means) if high is None else high
    span = (top - bottom) or 1.0
    places = (min(max((m - bottom) / span, 0.0), 1.0) for m in means)
    return "".join(BARS[round(p * (len(BARS) - 1))] for p in places)
