"""`python -m bench table`: what has been kept, as a table and curves in docs/scale.md and docs/growth.svg."""

from __future__ import annotations

import importlib
import json
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.__main__ import HOME, NAMES, cells, kept_rows, misses
from bench.drawing import Panel, draw, slopes

PAGE, PICTURE = HOME.parent / "docs" / "scale.md", HOME.parent / "docs" / "growth.svg"
PART = r"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)"
SHOWN = ("row", "peer", "settings", "ours", "theirs", "unit", "ratio", "pairs from..to", "target", "share of the bound",
         "memory MB, ours/theirs", "same work")  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """What a curve shows, at which slope on doubled axes it counts as bent, and what bends it."""

    title: str
    across: str
    up: str
    bent: float
    why: str


CURVES = {
    "batch": Curve(
        "Sampling, by batch", "rows decoded together", "tokens/s", 0.5,
        "few rows do not fill the products: a step of decoding costs its calls, however few rows it has. Behind the "
        "bend arithmetic and the reading of keys and values dominate, which every further row pays for itself",
    ),
    "length": Curve(
        "Sampling, by length", "new tokens of a row", "tokens/s", -0.25,
        "each new token reads keys and values of all before it: up to the bend the products with the weights are the "
        "larger part of a step, behind it that reading is, and grows with every token",
    ),
    "size": Curve(
        "Sampling, by size of model", "weights in millions", "tokens/s", -0.9,
        "products grow with the weights, calls only with the layers, so a small model loses less than it has fewer "
        "weights; at a slope of -1 the products are all there is",
    ),
    "group": Curve(
        "A step, by group", "rows of a group", "s", 0.9,
        "prompts are read once per group and calls are shared, so the first rows of a group cost more than further "
        "ones; at a slope of 1 every row pays for itself",
    ),
    "context": Curve(
        "Memory, by context", "tokens of context", "MB", 1.3,
        "keys and values (sampling) and activations (training) grow with the tokens; scores of attention would grow "
        "with their square, and would show as a slope towards 2. Training stays level where its rows no longer fit in "
        "one micro-batch of 4,096 tokens: more of them follow each other instead",
    ),
}  # fmt: skip


def main() -> int:
    """Write both files; 2 where nothing has been measured yet."""
    found = {name: kept(name) for name in (*NAMES, "growth")}
    if not any(found.values()):
        print("error: nothing is kept in bench/results yet\n  cure:   make bench", file=sys.stderr)
        return 2
    text = PAGE.read_text("utf-8")
    rows = [row for name in NAMES for row in found[name]]
    text = put(text, "ratios", ratios(rows))
    if found["growth"]:
        panels = [panel(name, found["growth"]) for name in CURVES]
        PICTURE.write_text(draw(panels), "utf-8")
        text = put(text, "growth", "\n".join(told(name, p) for name, p in zip(CURVES, panels, strict=True)))
    PAGE.write_text(text, "utf-8")
    print(f"written: {PAGE.relative_to(HOME.parent)}, {len(rows)} rows")
    return 0


def kept(name: str) -> list[dict[str, Any]]:
    """Rows of the short run, then those that the whole grid has beside them; trials with options are left out."""
    module = importlib.import_module(f"bench.{name}")
    found: dict[str, dict[str, Any]] = {}
    for full in (False, True):
        done = kept_rows(HOME / "results" / f"{name}{'-full' if full else ''}.jsonl")
        for case in module.cases(full):
            for row in done.get(json.dumps(case, sort_keys=True), []):
                found.setdefault(json.dumps([row["row"], row["peer"], row["settings"]], sort_keys=True), row)
    return list(found.values())


def put(text: str, name: str, words: str) -> str:
    """The text with `words` between the marks called `name`."""
    return re.sub(PART.format(name=name), lambda f: f"{f[1]}{words}\n{f[2]}", text, flags=re.DOTALL)


def ratios(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table, and below it what there is to say about rows under their target."""
    lines = [f"Measured on {machine()}.", "", "| " + " | ".join(SHOWN) + " |", "|" + "---|" * len(SHOWN)]
    lines += ["| " + " | ".join(cells(dict(row))) + " |" for row in rows]
    short = [row for row in rows if misses(row)]
    if short:
        lines += ["", "Short of their target:", ""]
        lines += [f"* {row['row']}, {_where(row)}: {row['why']}." for row in short]
    return "\n".join(lines)


def machine() -> str:
    """The processor and the versions that decide speed."""
    from importlib.metadata import PackageNotFoundError, version

    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.*)", info.read_text()) if info.exists() else []
    versions = []
    for package in ("torch", "transformers", "trl"):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return f"{names[0] if names else platform.machine()}, {len(names) or '?'} cores; {', '.join(versions)}"


def panel(name: str, rows: Sequence[Mapping[str, Any]]) -> Panel:
    """The lines of one curve in float32, and where they bend."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        at = row["settings"]
        if at["curve"] == name:
            line = at["line"] if at["dtype"] == "float32" else f"{at['line']}, {at['dtype']}"
            lines.setdefault(line, []).append((float(at["x"]), float(row["ours"])))
    curve = CURVES[name]
    bends = {line: bend(points, curve.bent) for line, points in lines.items()}
    return Panel(curve.title, curve.across, curve.up, lines, bends)


def bend(line: Sequence[tuple[float, float]], bent: float) -> float | None:
    """The first x behind which the slope on doubled axes stays beyond `bent`, seen from where the line starts."""
    found = slopes(line)
    if not found:
        return None
    starts_above = found[0][1] > bent
    for place, (x, _) in enumerate(found):
        if all((slope <= bent) == starts_above for _, slope in found[place:]):
            return x if place else None
    return None


def told(name: str, drawn: Panel) -> str:
    """A curve in words: what a doubling brings along it, where it bends, and why."""
    curve, parts = CURVES[name], []
    for line, points in drawn.lines.items():
        factors = ", ".join(f"{2**slope:.2f}" for _, slope in slopes(points))
        at = drawn.bends[line]
        where = "no bend in this range" if at is None else f"bends at {at:g}"
        parts.append(f"{line}: a doubling brings x {factors}; {where}")
    return f"* **{curve.title}** ({curve.across} to {curve.up}). {'. '.join(parts)}. Why: {curve.why}."


def _where(row: Mapping[str, Any]) -> str:
    return " ".join(f"{k}={v}" for k, v in row["settings"].items())
