"""Turns numbers into small SVG drawings that need no script, follow the page's colours, and print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

Point = tuple[float, float]

_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 12.0, 10.0, 24.0


@dataclass(frozen=True)
class Series:
    """A named curve; `tone` is the number of a colour of the page, `is_sparse` draws a dot at every point."""

    name: str
    points: tuple[Point, ...]
    tone: int = 0
    is_sparse: bool = False


@dataclass(frozen=True)
class Whisker:
    """A measured number between its bounds, in the row called `row`."""

    row: str
    name: str
    value: float
    low: float
    high: float
    tone: int


@dataclass(frozen=True)
class Frame:
    """Where data lies in a drawing: pixels of the picture and bounds of both axes."""

    width: float
    height: float
    x: Point
    y: Point

    def at(self, point: Point) -> Point:
        """Pixels of a point."""
        across = (point[0] - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (point[1] - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        right, bottom = self.width - _RIGHT, self.height - _BOTTOM
        return round(_LEFT + across * (right - _LEFT), 2), round(bottom - up * (bottom - _TOP), 2)


def draw_lines(
    series: Sequence[Series], *, title: str, span: Point, shade: Sequence[Point] = (), is_share: bool = False
) -> str:
    """Curves over the steps of `span`; `shade` marks steps, a share runs to 100 %, dense curves get a running mean."""
    points = [point for one in series for point in one.points]
    if not points:
        return ""
    y = (0.0, 1.0) if is_share else _padded([value for _, value in points])
    frame = Frame(340, 170, span, y)
    parts = [_shaded(frame, one) for one in shade]
    parts += _axes(frame, "%" if is_share else "")
    for one in series:
        parts += _curve(frame, one)
    parts += _hover(frame, series, is_share)
    return _svg(frame, title, parts)


def draw_shares(
    columns: Sequence[tuple[int, Sequence[float]]], names: Sequence[str], *, title: str, colours: str
) -> str:
    """Stacked bars that fill the height: per step, what share each name had; `colours` is `ramp` or `tone`."""
    if not columns:
        return ""
    steps = [step for step, _ in columns]
    frame = Frame(700, 190, (min(steps) - 0.5, max(steps) + 0.5), (0.0, 1.0))
    gap = min((b - a for a, b in pairwise(steps)), default=1)
    parts = []
    for step, values in columns:
        total, below = sum(values) or 1.0, 0.0
        for tone, (name, value) in enumerate(zip(names, values, strict=True)):
            if value <= 0:
                continue
            (left, top), (right, bottom) = (
                frame.at((max(frame.x[0], step - gap / 2), below + value / total)),
                frame.at((min(frame.x[1], step + gap / 2), below)),
            )
            below += value / total
            box = f'x="{left}" y="{top}" width="{max(0.5, right - left):.2f}" height="{bottom - top:.2f}"'
            said = escape(f"step {step}: {name} {100 * value / total:.0f} %")
            parts.append(
                f'<rect class="{colours}{tone % 10}" shape-rendering="crispEdges" {box}><title>{said}</title></rect>'
            )
    return _svg(frame, title, parts + _axes(frame, "%", grid=False))


def draw_whiskers(whiskers: Sequence[Whisker], *, title: str) -> str:
    """Measured shares with their intervals, one row per kind, on a common scale from 0 to 100 %."""
    rows = list(dict.fromkeys(w.row for w in whiskers))
    if not rows:
        return ""
    left, width, line = 168.0, 760.0, 32.0
    height = 12 + line * len(rows) + 22
    scale = width - left - 110
    parts = []
    for tick in (0, 25, 50, 75, 100):
        x = left + scale * tick / 100
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="6" y2="{height - 22}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{height - 7}" text-anchor="middle">{tick} %</text>')
    for place, row in enumerate(rows):
        y = 12 + line * (place + 0.5)
        parts.append(f'<text class="label" x="{left - 12}" y="{y + 4}" text-anchor="end">{escape(row)}</text>')
        inside = [w for w in whiskers if w.row == row]
        for number, one in enumerate(inside):
            parts.append(_whisker(one, left, scale, y + (number - (len(inside) - 1) / 2) * 10))
        said = " \u2192 ".join(f"{100 * w.value:.1f}" for w in inside) + " %"
        parts.append(f'<text class="value" x="{width}" y="{y + 4}" text-anchor="end">{said}</text>')
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'


def running_mean(points: Sequence[Point], reach: int) -> tuple[Point, ...]:
    """Each point as the mean of itself and up to `reach` neighbours on either side, as many on the one as the other."""
    found = []
    for place, (x, _) in enumerate(points):
        near = min(reach, place, len(points) - 1 - place)
        window = [y for _, y in points[place - near : place + near + 1]]
        found.append((x, sum(window) / len(window)))
    return tuple(found)


def ticks(low: float, high: float, num: int = 4) -> list[float]:
    """Round numbers between two bounds, about `num` of them."""
    if not high > low:
        return [low]
    rough = (high - low) / num
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """A number as people read it: thousands as k, small ones with three digits."""
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.3g}M"
    if size >= 1e4:
        return f"{value / 1e3:.3g}k"
    if size and size < 1e-3:
        return f"{value:.1e}"
    return f"{value:.4g}" if size >= 100 else f"{value:.3g}"


def _curve(frame: Frame, one: Series) -> list[str]:
    dense = len(one.points) >= 24 and not one.is_sparse
    parts = []
    if dense:
        reach = max(2, len(one.points) // 16)
        parts.append(_path(frame, one.points, f"raw tone{one.tone}"))
        parts.append(_path(frame, running_mean(one.points, reach), f"line tone{one.tone}"))
    else:
        parts.append(_path(frame, one.points, f"line tone{one.tone}"))
    if one.is_sparse or len(one.points) == 1:
        for point in one.points:
            x, y = frame.at(point)
            parts.append(f'<circle class="dot tone{one.tone}" cx="{x}" cy="{y}" r="2.6"/>')
    return parts


def _path(frame: Frame, points: Sequence[Point], kind: str) -> str:
    places = " ".join(f"{x:g},{y:g}" for x, y in map(frame.at, points))
    return f'<polyline class="{kind}" points="{places}"/>'


def _shaded(frame: Frame, span: Point) -> str:
    (left, top), (right, bottom) = frame.at((span[0], frame.y[1])), frame.at((span[1], frame.y[0]))
    return (
        f'<rect class="shade" x="{left}" y="{top}" width="{max(2.0, right - left):.2f}" height="{bottom - top:.2f}"/>'
    )


def _axes(frame: Frame, unit: str, grid: bool = True) -> list[str]:
    parts = []
    scale = 100 if unit == "%" else 1
    values = [0, 0.25, 0.5, 0.75, 1] if unit == "%" else ticks(*frame.y)
    for value in values:
        x, y = frame.at((frame.x[0], value))
        if grid:
            parts.append(f'<line class="grid" x1="{x}" x2="{frame.width - _RIGHT}" y1="{y}" y2="{y}"/>')
        said = f"{short(value * scale)}{' %' if unit else ''}"
        parts.append(f'<text class="tick" x="{x - 6}" y="{y + 3.5}" text-anchor="end">{said}</text>')
    whole = [t for t in ticks(*frame.x, num=5 if frame.width < 400 else 10) if t == int(t)]
    for value in whole or [round(frame.x[0])]:
        x, y = frame.at((value, frame.y[0]))
        parts.append(f'<text class="tick" x="{x}" y="{y + 15}" text-anchor="middle">{int(value)}</text>')
    x, y = frame.at((frame.x[0], frame.y[0]))
    parts.append(f'<line class="axis" x1="{x}" x2="{frame.width - _RIGHT}" y1="{y}" y2="{y}"/>')
    return parts


def _hover(frame: Frame, series: Sequence[Series], is_share: bool) -> list[str]:
    """One invisible strip per step that says the step's values when pointed at."""
    by_step: dict[float, list[str]] = {}
    for one in series:
        for x, y in one.points:
            value = f"{100 * y:.1f} %" if is_share else short(y)
            by_step.setdefault(x, []).append(f"{one.name} {value}")
    steps = sorted(by_step)
    strip = (frame.width - _LEFT - _RIGHT) / max(1, len(steps))
    parts = []
    for step in steps:
        x, _ = frame.at((step, frame.y[0]))
        said = escape(f"step {step:g}: " + ", ".join(by_step[step]))
        box = f'x="{x - strip / 2:.2f}" y="{_TOP}" width="{strip:.2f}" height="{frame.height - _TOP - _BOTTOM}"'
        parts.append(f'<rect class="hover" {box}><title>{said}</title></rect>')
    return parts


def _whisker(one: Whisker, left: float, scale: float, y: float) -> str:
    low, value, high = (round(left + scale * min(1.0, max(0.0, v)), 2) for v in (one.low, one.value, one.high))
    said = escape(f"{one.row}, {one.name}: {100 * one.value:.1f} % ({100 * one.low:.1f} to {100 * one.high:.1f})")
    return (
        f'<g><title>{said}</title><line class="whisker tone{one.tone}" x1="{low}" x2="{high}" y1="{y}" y2="{y}"/>'
        f'<circle class="dot tone{one.tone}" cx="{value}" cy="{y}" r="4.2"/></g>'
    )


def _padded(values: Sequence[float]) -> Point:
    low, high = min(values), max(values)
    if low >= 0 and low < 0.4 * high:
        return 0.0, high * 1.06
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return low - room, high + room


def _svg(frame: Frame, title: str, parts: Sequence[str]) -> str:
    view = f"0 0 {frame.width:g} {frame.height:g}"
    return f'<svg viewBox="{view}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
