"""Curves of growth as one SVG file: a panel per curve, both axes by doublings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH, HEIGHT, COLUMNS = 420, 270, 2
LEFT, RIGHT, TOP, BOTTOM = 58, 24, 40, 44
INKS = ("#4a6fa5", "#b5651d", "#3f7d58", "#7d4a8d")
Line = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """One drawing: named lines of (x, y), and where each of them bends."""

    title: str
    across: str
    up: str
    lines: Mapping[str, Line]
    bends: Mapping[str, float | None]


def draw(panels: Sequence[Panel]) -> str:
    """All panels in rows of two."""
    rows = -(-len(panels) // COLUMNS)
    width, height = WIDTH * COLUMNS, HEIGHT * rows
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="t" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="11">',
        '<title id="t">How cost grows</title>',
        f'<rect width="{width}" height="{height}" rx="14" fill="#fbfaf7"/>',
    ]
    for place, panel in enumerate(panels):
        across, down = place % COLUMNS * WIDTH, place // COLUMNS * HEIGHT
        parts.append(f'<g transform="translate({across} {down})">{"".join(_panel(panel))}</g>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel) -> list[str]:
    xs = sorted({x for line in panel.lines.values() for x, _ in line})
    ys = _ticks([y for line in panel.lines.values() for _, y in line])
    x_at = _scale((xs[0], xs[-1]), LEFT, WIDTH - RIGHT)
    y_at = _scale((ys[0], ys[-1]), HEIGHT - BOTTOM, TOP + 16)
    parts = [f'<text x="{LEFT}" y="20" font-size="13" font-weight="600" fill="#222">{escape(panel.title)}</text>']
    for y in ys:
        at = y_at(y)
        parts.append(f'<path d="M{LEFT} {at}H{WIDTH - RIGHT}" stroke="#e4e0d6"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4}" text-anchor="end" fill="#555">{_short(y)}</text>')
    for x in _sparse(xs):
        at = HEIGHT - BOTTOM + 15
        parts.append(f'<text x="{x_at(x)}" y="{at}" text-anchor="middle" fill="#555">{_short(x)}</text>')
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle" fill="#555">'
        f"{escape(panel.across)}</text>"
    )
    parts.append(f'<text x="{WIDTH - RIGHT}" y="20" text-anchor="end" fill="#555">{escape(panel.up)}</text>')
    for number, (name, line) in enumerate(panel.lines.items()):
        ink = INKS[number % len(INKS)]
        points = [(x_at(x), y_at(y)) for x, y in line]
        path = "L".join(f"{x} {y}" for x, y in points)
        parts.append(f'<path d="M{path}" fill="none" stroke="{ink}" stroke-width="2"/>')
        for (x, y), at in zip(line, points, strict=True):
            bend = x == panel.bends.get(name)
            look = f'r="5" fill="#fbfaf7" stroke="{ink}" stroke-width="2"' if bend else f'r="3" fill="{ink}"'
            said = f"{name}: {_short(x)}, {_short(y)}" + (" (bends)" if bend else "")
            parts.append(f'<circle cx="{at[0]}" cy="{at[1]}" {look}><title>{escape(said)}</title></circle>')
        parts.append(f'<text x="{LEFT + 4 + 130 * number}" y="38" fill="{ink}">{escape(name)}</text>')
    return parts


def _scale(bounds: tuple[float, float], start: float, stop: float) -> Callable[[float], float]:
    low, high = (math.log2(b) for b in bounds)
    return lambda value: round(start + (stop - start) * (math.log2(value) - low) / ((high - low) or 1), 1)


def _ticks(values: Sequence[float]) -> list[float]:
    """1, 2 and 5 of every power of ten around the values."""
    known = [digit * 10.0**power for power in range(-6, 13) for digit in (1, 2, 5)]
    low = max(place for place, tick in enumerate(known) if tick <= min(values))
    high = min(place for place, tick in enumerate(known) if tick > max(values))
    return known[low : high + 1]


def _sparse(xs: Sequence[float]) -> list[float]:
    return list(xs) if len(xs) <= 8 else list(xs[::2])


def _short(value: float) -> str:
    if value >= 10_000:
        return f"{value / 1000:.0f}k"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def slopes(line: Line) -> list[tuple[float, float]]:
    """(x, d log y / d log x) for every x but the last, towards the next."""
    return [(a[0], math.log2(b[1] / a[1]) / math.log2(b[0] / a[0])) for a, b in pairwise(line)]
