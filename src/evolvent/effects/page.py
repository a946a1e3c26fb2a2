"""The board of effects as one page that opens anywhere: a small plot per claim, no network, no script."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from evolvent.store.charts import Frame, short, ticks

TEMPLATE = Path(__file__).with_name("board.html.j2")
WIDTH, HEIGHT = 620.0, 56.0


def board_page(entries: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str]) -> str:
    """Every entry of a board as a card under its title: its claims, each with difference, interval and seeds."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(entries=entries, titles=titles, draw=lambda one: Markup(draw_contrast(one))) + "\n"


def draw_contrast(one: Mapping[str, Any]) -> str:
    """A claim on a scale of its own, because metrics have different units; zero is always on it."""
    band = one.get("tolerance") or 0.0
    values = [0.0, one["low"], one["high"], *one["per_seed"], -band, band]
    room = 0.06 * (max(values) - min(values)) or 1.0
    frame = Frame(WIDTH, HEIGHT, (min(values) - room, max(values) + room), (0.0, 1.0))

    def at(value: float) -> float:
        return frame.at((value, 0.5))[0]

    y, bottom = frame.at((0.0, 0.5))[1], frame.at((0.0, 0.0))[1]
    parts = []
    if band:
        parts.append(
            f'<rect class="band" x="{at(-band)}" y="4" width="{at(band) - at(-band):.2f}" height="{bottom - 4}"/>'
        )
    for tick in ticks(*frame.x, num=5):
        parts.append(f'<line class="grid" x1="{at(tick)}" x2="{at(tick)}" y1="6" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{at(tick)}" y="{bottom + 14}" text-anchor="middle">{short(tick)}</text>')
    parts.append(f'<line class="zero" x1="{at(0)}" x2="{at(0)}" y1="4" y2="{bottom}"/>')
    said = f"{one['difference']:+.3g}, 95 % from {one['low']:+.3g} to {one['high']:+.3g}"
    parts.append(
        f'<g class="{"ok" if one["ok"] else "no"}"><title>{escape(said)}</title>'
        f'<line class="whisker" x1="{at(one["low"])}" x2="{at(one["high"])}" y1="{y}" y2="{y}"/>'
        f'<circle class="mean" cx="{at(one["difference"])}" cy="{y}" r="4.6"/></g>'
    )
    parts += [
        f'<circle class="seed" cx="{at(d)}" cy="{y}" r="3.4"><title>{d:+.3g}</title></circle>' for d in one["per_seed"]
    ]
    label = escape(f"{one['metric']}: {said}")
    return f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
