"""Draws who built on whom: runs in order of time or depth, their scores upwards, the way to the best in full colour."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from evolvent.dashboard.scale import Scale, lay_scale, write_ticks
from evolvent.dashboard.wording import line, status_of

Node = dict[str, Any]

LEFT, RIGHT, TOP, LANE = 60.0, 26.0, 18.0, 58.0  # the lane below holds runs without a number
HEIGHT = 460.0
MIN_WIDTH, MAX_WIDTH = 1118.0, 3200.0
CROWDED = 120


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run lies in the drawing."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Lineage:
    """A graph laid out: places by run, the way from the first to the best, and the line of the scores."""

    nodes: tuple[Node, ...]
    places: Mapping[str, Place]
    path: tuple[str, ...]
    scale: Scale
    width: float
    ends: tuple[str, str]


def lay_lineage(
    nodes: Sequence[Node], *, best: str | None, is_more_better: bool, by: str = "time", is_wide: bool = False
) -> Lineage:
    """Every run in its place; `by` says what lies across: `time` (order of submission) or `depth` (runs built upon)."""
    ordered = sorted(nodes, key=lambda node: (node.get("number") or 0, str(node.get("created_at")), node["sha"]))
    scores = [float(node["verified_score"]) for node in ordered if node["verified"]]
    path = _path_to(best, ordered)
    needed = [float(node["verified_score"]) for node in ordered if node["verified"] and node["sha"] in path]
    scale = lay_scale(scores, is_more_better, needed)
    width = min(MAX_WIDTH, max(MIN_WIDTH, 7.0 * len(ordered))) if is_wide else MIN_WIDTH
    across = _by_depth(ordered) if by == "depth" else _by_time(ordered)
    bottom = HEIGHT - LANE
    places = {}
    for node in ordered:
        x = LEFT + 12 + (width - LEFT - RIGHT - 12) * across[node["sha"]]
        up = scale.share(float(node["verified_score"])) if node["verified"] else None
        places[node["sha"]] = Place(
            round(x, 1), round(bottom - up * (bottom - TOP) if up is not None else HEIGHT - 24, 1)
        )
    ends = ("start", "most built upon") if by == "depth" else ("first run", "last run")
    return Lineage(tuple(ordered), places, path, scale, width, ends)


def draw_lineage(lineage: Lineage, task: str, metric: str) -> Markup:
    """The graph as SVG in which every run is a link."""
    if not lineage.nodes:
        return Markup("")
    on_path = set(lineage.path)
    kind = "lineage crowded" if len(lineage.nodes) > CROWDED else "lineage"
    kind += " wide" if lineage.width > MIN_WIDTH else ""
    parts = [*_frame(lineage), *_edges(lineage, on_path)]
    for node in sorted(lineage.nodes, key=lambda node: node["sha"] in on_path):
        parts.append(_node(lineage, node, task, node["sha"] in on_path))
    parts += _labels(lineage)
    said = f"lineage of {len(lineage.nodes)} runs by {metric}; {len(lineage.path)} of them lead to the best"
    view = f'viewBox="0 0 {lineage.width:g} {HEIGHT:g}" width="{lineage.width:g}" height="{HEIGHT:g}"'
    return Markup(f'<svg class="{kind}" {view} role="group" aria-label="{escape(said)}">{"".join(parts)}</svg>')


def _frame(lineage: Lineage) -> list[str]:
    right, bottom = lineage.width - RIGHT, HEIGHT - LANE
    parts = []
    ticks = lineage.scale.ticks(6) if any(node["verified"] for node in lineage.nodes) else []
    for tick, words in zip(ticks, write_ticks(ticks), strict=True):
        y = round(bottom - lineage.scale.share(tick) * (bottom - TOP), 1)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{words}</text>')
    if not all(node["verified"] for node in lineage.nodes):
        parts.append(f'<rect class="lane" x="{LEFT}" y="{HEIGHT - 40}" width="{right - LEFT}" height="32" rx="5"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{HEIGHT - 20}" text-anchor="end">none</text>')
    first, last = lineage.ends
    parts.append(f'<text x="{LEFT + 4}" y="{bottom + 13}">{first}</text>')
    parts.append(f'<text x="{right}" y="{bottom + 13}" text-anchor="end">{last}</text>')
    return parts


def _edges(lineage: Lineage, on_path: set[str]) -> list[str]:
    plain: list[str] = []
    kept: list[str] = []
    lost: list[str] = []  # to runs without a number, all the way down
    for node in lineage.nodes:
        parent = node.get("parent")
        if parent is None or parent not in lineage.places:
            continue
        a, b = lineage.places[parent], lineage.places[node["sha"]]
        middle = round((a.x + b.x) / 2, 1)
        curve = f"M{a.x} {a.y}C{middle} {a.y} {middle} {b.y} {b.x} {b.y}"
        is_kept = node["sha"] in on_path and parent in on_path
        (kept if is_kept else plain if node["verified"] else lost).append(curve)
    # three strokes for all edges: a page of 500 runs stays light
    strokes = (("edge lost", lost), ("edge", plain), ("edge best", kept))
    return [f'<path class="{kind}" d="{"".join(curves)}"/>' for kind, curves in strokes if curves]


def _labels(lineage: Lineage) -> list[str]:
    """The numbers of runs on the way to the best, as far as they do not lie on each other."""
    numbers = {node["sha"]: node.get("number") for node in lineage.nodes}
    shown: list[Place] = []
    for sha in reversed(lineage.path):
        place = lineage.places[sha]
        if all(abs(place.x - one.x) > 34 or abs(place.y - one.y) > 16 for one in shown):
            shown.append(place)
    named = {lineage.places[sha]: numbers[sha] for sha in lineage.path}
    spot = 'class="name" text-anchor="middle" aria-hidden="true"'
    return [f'<text {spot} x="{one.x}" y="{max(11.0, one.y - 11)}">#{named[one]}</text>' for one in shown]


def _node(lineage: Lineage, node: Node, task: str, is_on_path: bool) -> str:
    place, word = lineage.places[node["sha"]], status_of(node)[0]
    score = lineage.scale.write(float(node["verified_score"])) if node["verified"] else word
    said = f"run {node.get('number', '')} by {line(node['agent_id'], 40)}: {score}"
    more = f", {word}" if score != word else ""
    tldr = f"\n{line(node.get('tldr'), 120)}" if node.get("tldr") else ""
    size = (6.5 if is_on_path else 4.5) if len(lineage.nodes) <= CROWDED else (4.5 if is_on_path else 2.7)
    if node["verified"]:
        kind = "best" if is_on_path else {"kept": "kept", "not kept": "passed"}.get(word, "plain")
        kind += "" if lineage.scale.holds(float(node["verified_score"])) else " far"
        shape = f'<circle class="{kind}" cx="{place.x}" cy="{place.y}" r="{size}"/>'
    elif word in ("waiting", "being measured", "being compared"):
        shape = f'<circle class="wait" cx="{place.x}" cy="{place.y}" r="{size}"/>'
    else:
        x, y, r = place.x, place.y, size - 0.5
        shape = f'<path class="bad" d="M{x - r} {y - r}L{x + r} {y + r}M{x - r} {y + r}L{x + r} {y - r}"/>'
        shape += f'<circle class="reach" cx="{x}" cy="{y}" r="{size + 2}"/>'
    href = f"/tasks/{task}/runs/{node['sha']}"
    title = f"<title>{escape(said + more + tldr)}</title>"
    return f'<a href="{escape(href)}" aria-label="{escape(said + more)}">{title}{shape}</a>'


def _by_time(nodes: Sequence[Node]) -> dict[str, float]:
    last = max(1, len(nodes) - 1)
    return {node["sha"]: place / last for place, node in enumerate(nodes)}


def _by_depth(nodes: Sequence[Node]) -> dict[str, float]:
    """Columns by the number of runs built upon; within one the later lie a little further right."""
    depth: dict[str, int] = {}
    columns: dict[int, list[str]] = defaultdict(list)
    for node in nodes:  # a parent was submitted before its children
        sha = node["sha"]
        depth[sha] = depth.get(str(node.get("parent")), -1) + 1
        columns[depth[sha]].append(sha)
    last = max(1, max(depth.values(), default=0))
    room = 0.7 / (last + 1)
    found = {}
    for column, members in columns.items():
        for place, sha in enumerate(members):
            found[sha] = column / (last + 1) + room * (place / max(1, len(members) - 1) if len(members) > 1 else 0.0)
    return found


def _path_to(best: str | None, nodes: Sequence[Node]) -> tuple[str, ...]:
    parents = {node["sha"]: node.get("parent") for node in nodes}
    chain: list[str] = []
    while best in parents and best not in chain:
        chain.append(str(best))
        best = parents[best]
    return tuple(reversed(chain))
