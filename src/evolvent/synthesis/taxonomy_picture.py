"""Draws a taxonomy as an SVG of its own: classes, their centres, and a tick for each world."""

from __future__ import annotations

from html import escape

from evolvent.synthesis.taxonomy import Centre, Taxonomy, WorldClass

LEFT, CLASS_WIDTH, CENTRE_WIDTH, GAP = 16.0, 230.0, 290.0, 4.0
ROW, TICK, TOP = 22.0, 7.0, 58.0
MAX_TICKS = 40  # in one line
COLOURS = ("#2a78d6", "#1baf7a", "#eda100", "#008300", "#4a3aa7", "#e34948", "#e87ba4", "#eb6834")
STYLE = """
svg { background: #fcfcfb; font: 12px system-ui, sans-serif; } text { fill: #0b0b0b; } .quiet { fill: #52514e; }
.title { font-size: 15px; font-weight: 600; } .strong { font-weight: 600; } .rule { stroke: #e1e0d9; }
@media (prefers-color-scheme: dark) {
svg { background: #1a1a19; } text { fill: #ffffff; } .quiet { fill: #c3c2b7; } .rule { stroke: #2c2c2a; } }"""


def draw_taxonomy(taxonomy: Taxonomy, title: str, thing: str = "world") -> str:
    """One row a centre; a row is as tall as its things need, and a class as its centres."""
    y = TOP
    parts: list[str] = []
    for place, one in enumerate(taxonomy.classes):
        drawn, bottom = _class(one, COLOURS[place % len(COLOURS)], y, thing)
        parts += drawn
        y = bottom + 3 * GAP
    width = LEFT + CLASS_WIDTH + CENTRE_WIDTH + MAX_TICKS * TICK + 72
    num_centres = sum(len(one.centres) for one in taxonomy.classes)
    num_worlds = sum(one.num_worlds for one in taxonomy.classes)
    counts = f"{_num(num_worlds, thing)} in {_num(num_centres, 'centre')} of {_num(len(taxonomy.classes), 'class')}"
    head = (
        f'<text class="title" x="{LEFT}" y="26">{escape(title)}</text>'
        f'<text class="quiet" x="{LEFT}" y="44">{counts}; a tick is a {thing}</text>'
    )
    size = f'width="{width:g}" height="{y + 8:g}" viewBox="0 0 {width:g} {y + 8:g}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(title)}: {counts}">'
        f"<style>{STYLE}</style>{head}{''.join(parts)}</svg>\n"
    )


def _class(one: WorldClass, colour: str, top: float, thing: str) -> tuple[list[str], float]:
    parts: list[str] = []
    y = top
    for centre in one.centres:
        drawn, y = _centre(centre, colour, y)
        parts += drawn
    bottom = y - GAP
    middle = LEFT + 16
    box = (
        f'<rect x="{LEFT}" y="{top:g}" width="5" height="{bottom - top:g}" rx="2" fill="{colour}"/>'
        f'<text class="strong" x="{middle}" y="{top + 15:g}">{escape(_short(one.name, 30))}'
        f"<title>{escape(one.name)}</title></text>"
    )
    if bottom - top > 1.5 * ROW:
        box += f'<text class="quiet" x="{middle}" y="{top + 31:g}">{_num(one.num_worlds, thing)}</text>'
    rule = f'<line class="rule" x1="{LEFT}" x2="{LEFT + CLASS_WIDTH + CENTRE_WIDTH + MAX_TICKS * TICK + 56:g}" '
    rule += f'y1="{bottom + 1.5 * GAP:g}" y2="{bottom + 1.5 * GAP:g}"/>'
    return [box, *parts, rule], y


def _centre(centre: Centre, colour: str, top: float) -> tuple[list[str], float]:
    left = LEFT + CLASS_WIDTH
    lines = -(-len(centre.worlds) // MAX_TICKS)
    height = max(ROW, lines * (ROW - GAP) + GAP)
    parts = [
        f'<text x="{left:g}" y="{top + 15:g}">{escape(_short(centre.name, 40))}'
        f"<title>{escape(', '.join(centre.terms) or centre.name)}</title></text>"
    ]
    for number, world in enumerate(centre.worlds):
        x = left + CENTRE_WIDTH + (number % MAX_TICKS) * TICK
        y = top + 3 + (number // MAX_TICKS) * (ROW - GAP)
        said = f"<title>{escape(world)}</title>"
        parts.append(f'<rect x="{x:g}" y="{y:g}" width="5" height="14" rx="1.5" fill="{colour}">{said}</rect>')
    end = left + CENTRE_WIDTH + min(len(centre.worlds), MAX_TICKS) * TICK + 6
    parts.append(f'<text class="quiet" x="{end:g}" y="{top + 15:g}">{len(centre.worlds)}</text>')
    return parts, top + height + GAP


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _num(num: int, word: str) -> str:
    plural = word + ("es" if word.endswith("s") else "s")
    return f"{num} {word if num == 1 else plural}"
