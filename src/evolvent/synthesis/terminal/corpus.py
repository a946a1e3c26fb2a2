"""Writes a corpus of proven terminal tasks: one Harbor folder each, every check of every candidate beside them.

One line of candidates.jsonl is one candidate with all its checks, written whole; a run that was killed goes on there.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evolvent.envs.sandbox import Sandbox, best
from evolvent.errors import BadInput, nearest
from evolvent.seeds import derive
from evolvent.store.atomic import append_line, sweep, whole_lines, write_text
from evolvent.synthesis.funnel import Funnel, count
from evolvent.synthesis.terminal.proof import Asked, Proof, prove
from evolvent.synthesis.terminal_tasks import FAMILIES, HELD_OUT, LEVELS, make
from evolvent.tasks.formats.harbor import INSTRUCTION, HarborTask, write_task

__all__ = ["write_corpus"]

CANDIDATES, CHECKS, CARD = "candidates.jsonl", "checks.jsonl", "card.json"
ASKED = Asked(num_mutants=3, num_alternatives=2)
BATCH, MOST_PER_TASK, TEST_EVERY = 12, 4, 5
Make = Callable[..., HarborTask]


@dataclass(frozen=True)
class Candidate:
    """Where a candidate stands among all: its template, level, number and split."""

    number: int
    family: str
    level: int
    index: int
    split: str


def write_corpus(
    folder: str | Path,
    num: int,
    seed: int = 0,
    *,
    families: Sequence[str] = (),
    sandbox: Sandbox | None = None,
    maker: Make = make,
) -> Funnel:
    """Write `num` proven tasks, or go on with a folder where that was begun; what became of all candidates comes back.

    Held-out templates go to the test split whole, of the others every fifth task.
    """
    names = tuple(families) or tuple(FAMILIES)
    if maker is make and (odd := [name for name in names if name not in FAMILIES]):
        raise BadInput("no such template", where="families", got=odd[0], cure=nearest(odd[0], list(FAMILIES)))
    home, box = Path(folder), sandbox or best()
    home.mkdir(parents=True, exist_ok=True)
    sweep(home)
    lines = _read(home, seed, names)
    todo = _candidates(names)
    for _ in lines:
        next(todo)
    while _kept(lines) < num and len(lines) < MOST_PER_TASK * num + BATCH:
        wanted = min(BATCH, num - _kept(lines))
        lines += _try(home, [next(todo) for _ in range(wanted)], box, (seed, names, maker), lines)
    funnel = count(["drawn" for _ in lines]) + count(line["state"] for line in lines)
    _write_summary(home, lines, funnel, (seed, names))
    return funnel


def _try(
    home: Path, batch: Sequence[Candidate], sandbox: Sandbox, how: tuple[int, Sequence[str], Make], lines: list[Any]
) -> list[dict[str, Any]]:
    """Prove a batch, write what is sound, and note what became of each."""
    seed, names, maker = how
    seen = {line["problem"] for line in lines}
    made = [maker(c.family, c.level, c.index, c.split, derive(seed, "corpus") % 2**32) for c in batch]
    fresh: list[HarborTask] = []
    is_new = []
    for task in made:
        is_new.append(_problem(task) not in seen)
        seen.add(_problem(task))
        fresh += [task] if is_new[-1] else []
    proofs: Iterator[Proof] = iter(prove(fresh, sandbox, ASKED))
    found = []
    for candidate, task, new in zip(batch, made, is_new, strict=True):
        proof = next(proofs) if new else None
        name = task.name.rpartition("/")[2]
        state = "duplicate" if proof is None else f"rejected: {proof.failed}" if proof.failed else "kept"
        if state == "kept":
            write_task(home / name, task)
        line = {
            **asdict(candidate), "name": name, "state": state, "hash": task.digest, "problem": _problem(task),
            "seed": seed, "families": list(names), "checks": [asdict(row) for row in (proof.rows if proof else ())],
        }  # fmt: skip
        append_line(home / CANDIDATES, json.dumps(line))
        found.append(line)
    return found


def _candidates(names: Sequence[str]) -> Iterator[Candidate]:
    """Templates in turn, then levels, then numbers."""
    number = 0
    while True:
        family, level = names[number % len(names)], LEVELS[number // len(names) % len(LEVELS)]
        index = number // (len(names) * len(LEVELS))
        is_test = family in HELD_OUT or index % TEST_EVERY == TEST_EVERY - 1
        yield Candidate(number, family, level, index, "test" if is_test else "train")
        number += 1


def _read(home: Path, seed: int, names: Sequence[str]) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in whole_lines(home / CANDIDATES)[0] if line]
    for line in found[:1]:
        if (line["seed"], line["families"]) != (seed, list(names)):
            raise BadInput(
                "this corpus was begun with other words",
                where=str(home),
                got=f"seed {seed}, families {', '.join(names)}",
                wanted=f"seed {line['seed']}, families {', '.join(line['families'])}",
                cure="use the same, or another folder",
            )
    return found


def _write_summary(home: Path, lines: Sequence[dict[str, Any]], funnel: Funnel, how: tuple[int, Sequence[str]]) -> None:
    rows = [json.dumps(row) for line in lines for row in line["checks"]]
    write_text(home / CHECKS, "".join(row + "\n" for row in rows))
    kept = [line for line in lines if line["state"] == "kept"]
    card = {
        "kind": "terminal tasks",
        "seed": how[0],
        "families": list(how[1]),
        "held_out_families": [name for name in how[1] if name in HELD_OUT],
        "funnel": dict(funnel.counts),
        "by_family": dict(Counter(line["family"] for line in kept)),
        "by_level": {str(level): num for level, num in sorted(Counter(line["level"] for line in kept).items())},
        "by_split": dict(Counter(line["split"] for line in kept)),
        "tasks": {line["name"]: line["hash"] for line in kept},
    }
    write_text(home / CARD, json.dumps(card, indent=1) + "\n")


def _kept(lines: Sequence[dict[str, Any]]) -> int:
    return sum(line["state"] == "kept" for line in lines)


def _problem(task: HarborTask) -> str:
    """What makes two tasks one: the words and the files at the start."""
    told = hashlib.sha256(task.files[INSTRUCTION])
    for path, data in sorted(task.below("environment").items()):
        told.update(f"{path} {len(data)}\n".encode() + data)
    return told.hexdigest()
