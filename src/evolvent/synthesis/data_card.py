"""Writes the card of a corpus for people, from the same data that corpus.json holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evolvent.store.atomic import write_text

CARD = "DATA_CARD.md"
HOLDS = {
    "worlds": """Each folder of `worlds/` is a mutable database with tools: `world.json` (schema, tools with JSON-schema
parameters and the SQL or Python that runs them, rules, labels), `tables/NAME.jsonl` (a row a line), `manifest.json`
(SHA-256 of these files). A world is opened with `evolvent.envs.databases.corpus:read_world`.""",
    "tasks": """Each line of `tasks.jsonl` is a task: the prompt, and a private part with the answer, the worked
solution and what judges it, which no policy and no tool may see. `worlds/` holds the worlds that tasks are about. The
tasks are opened with `evolvent.synthesis.stored:StoredTasks`.""",
    "task folders": "Each folder of `tasks/` is one task: instruction, environment, tests, solution, probes.",
}
GATES = """- A tool stays where more than half of the tests that its author did not write pass, each in a fresh copy.
- A world stays where a tool stays.
- Exact duplicates (by digest) and near duplicates (by overlap of runs of three words) of what came before go."""


def write_card(folder: Path, data: Mapping[str, Any]) -> None:
    """DATA_CARD.md; the same data give the same bytes."""
    write_text(folder / CARD, "\n".join(_lines(data)) + "\n")


def _lines(data: Mapping[str, Any]) -> Iterator[str]:
    of = data["of"]
    yield f"# {data['counts'][of]:,} {of}\n"
    yield HOLDS[of] + "\n"
    yield "All of it is generated. `corpus.json` says what is below as data.\n"
    yield "## What there is\n"
    yield from _table("what", data["counts"])
    yield "\n## What became of what was begun\n"
    yield from _table("stage", data["funnel"])
    if data["dropped"]:
        yield "\nPieces that came to nothing:\n"
        yield from _table("why", data["dropped"])
    yield "\n## Gates\n"
    yield GATES if of == "worlds" else "Each task was made by running its solution in a private copy of its world."
    yield "\n## How it was made\n"
    yield f"evolvent {data['versions']['evolvent']}, with these settings; the same settings give the same bytes.\n"
    yield "```json\n" + json.dumps(data["settings"], indent=1, ensure_ascii=False) + "\n```"
    if data["taxonomy"]:
        yield "\n## Taxonomy\n"
        yield "![taxonomy](taxonomy.svg)\n"
        sizes = {name: sum(map(len, centres.values())) for name, centres in data["taxonomy"].items()}
        yield from _table("class", sizes)


def _table(head: str, numbers: Mapping[str, int]) -> Iterator[str]:
    width = max([len(name) for name in numbers] + [len(head)], default=0)
    shown = {name: f"{num:,}" for name, num in numbers.items()}
    right = max([len(num) for num in shown.values()] + [3], default=3)
    yield f"| {head:<{width}} | {'num':>{right}} |"
    yield f"|{'-' * (width + 2)}|{'-' * (right + 1)}:|"
    for name, num in shown.items():
        yield f"| {name:<{width}} | {num:>{right}} |"
