"""`evolvent check`: makes the tasks of a source, a file, a folder or a corpus of worlds prove themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from evolvent.cli.families import check_families, families_behind
from evolvent.cli.main import Command, refuse_fields
from evolvent.cli.screen import Screen
from evolvent.cli.subject import one_word
from evolvent.cli.ticks import ticking
from evolvent.cli.values import override, read_value
from evolvent.cli.words import one_line
from evolvent.errors import BadInput
from evolvent.store import write_text
from evolvent.synthesis.trust import Proof, Subject, as_plain, examine, find_subject
from evolvent.synthesis.trust.examine import cells_of

OWN = ("out", "against", "reward")
STYLES = {"passed": "green", "warned": "yellow", "failed": "bold red", "not applicable": "dim"}


def main(command: Command) -> dict[str, Any]:
    """Check; the answer is the report, and the exit status 0 only where nothing failed."""
    fields = [name for name in Proof.__dataclass_fields__ if name != "judge"]
    refuse_fields(command, (*OWN, *fields))
    word, screen = one_word(command, "SOURCE, FILE or FOLDER"), Screen(as_json=command.json)
    proof = read_proof(command)
    names = families_behind(word)
    if names:
        answer = check_families(names, proof, screen)
    else:
        answer = check_subject(find(word, proof.seed), proof, command, screen)
    if "out" in command.fields:
        write_text(Path(command.fields["out"]), json.dumps(answer, indent=1) + "\n")
        screen.say(f"written to {command.fields['out']}")
    return answer if answer["holds"] else {**answer, "exit": 1}


def find(word: str, seed: int) -> Subject:
    """What a word stands for; gym:ID and bfcl:CATEGORY are worlds with tasks of their own."""
    if word.partition(":")[0] not in ("gym", "bfcl"):
        return find_subject(read_value(word, "source"), seed)
    from evolvent.cli.scenes import find_scene

    scene = find_scene(word, seed)
    if scene.source is None:
        raise BadInput("this world has no tasks to check", where=word, cure="evolvent world play shows it")
    return Subject(word, scene.source, scene.world)


def read_proof(command: Command) -> Proof:
    """How much is tried, from the command's fields."""
    fields = {key: text for key, text in command.fields.items() if key not in OWN}
    proof: Proof = override(Proof(), fields)
    if "reward" in command.fields:
        proof = replace(proof, judge=read_value(command.fields["reward"], "reward"))
    return proof if command.seed is None else replace(proof, seed=command.seed)


def check_subject(subject: Subject, proof: Proof, command: Command, screen: Screen) -> dict[str, Any]:
    """One subject, in this process, with a bar."""
    if subject.world is not None and "world" not in command.fields:
        proof = replace(proof, world=subject.world)
    if subject.workflow is not None and "workflow" not in command.fields:
        proof = replace(proof, workflow=subject.workflow)
    known = read_known(command.fields.get("against"))
    with ticking(screen, len(cells_of(subject.source)), "proving") as tick:
        report = examine(
            subject.source, proof, name=subject.name, files=subject.files, known_files=known, watch=lambda _: tick()
        )
    answer = as_plain(report)
    show(screen, answer)
    return answer


def read_known(path: str | None) -> Mapping[str, str] | None:
    """The digests of an earlier report."""
    if path is None:
        return None
    try:
        return dict(json.loads(Path(path).read_text("utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            "not an earlier report", where=f"against={path}", got=str(error), wanted="what out=FILE wrote",
            cure="evolvent check FOLDER out=FILE",
        ) from error  # fmt: skip


# ---------------------------------------------------------------- what a person sees


def show(screen: Screen, answer: Mapping[str, Any]) -> None:
    """A row for each check, then what broke and what to do about it."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for name in ("check", "", "tried", "failed", "warned", "what it asks"):
        table.add_column(name, justify="right" if name in ("tried", "failed", "warned") else "left")
    for row in answer["checks"]:
        style = STYLES[row["status"]]
        counts = [str(row[key] or "-") for key in ("num_tried", "num_failed", "num_warned")]
        table.add_row(row["name"], f"[{style}]{row['status']}[/{style}]", *counts, row["asks"] + _shares(row))
    screen.console.print(table)
    for row in answer["checks"]:
        if row["status"] in ("failed", "warned"):
            _show_flaws(screen, row)
    if answer["stopped"]:
        screen.console.print(f"stopped early: {answer['stopped']}", markup=False)
    verdict = "nothing failed" if answer["holds"] else "no tasks" if not answer["num_tasks"] else "failed"
    bad = f", {len(answer['flawed'])} of them flawed" if answer["flawed"] else ""
    screen.say(f"\n[bold]{verdict}[/bold]: {answer['num_tasks']} tasks of {answer['num_cells']} cells{bad}")


def _show_flaws(screen: Screen, row: Mapping[str, Any]) -> None:
    screen.console.print(f"\n{row['name']}: {row['cure']}", style=STYLES[row["status"]], markup=False)
    for flaw in row["examples"]:
        where = f"{flaw['task_id']}: " if flaw["task_id"] else ""
        screen.console.print(f"  {where}{flaw['what']}", markup=False)
        if flaw["got"]:
            screen.console.print(f"    {one_line(flaw['got'], 160)}", style="dim", markup=False)


def _shares(row: Mapping[str, Any]) -> str:
    """The numbers that a person asks for first."""
    numbers = row["numbers"]
    if row["name"] == "floor" and numbers.get("guesses"):
        share = numbers["guesses_right"] / numbers["guesses"]
        return f" (other answers {share:.0%}, best single one {numbers['best_single_answer']:.0%})"
    if row["name"] == "split" and "share_of_test_that_differs_in_numbers_alone" in numbers:
        return f" ({numbers['share_of_test_that_differs_in_numbers_alone']:.0%} of test differ in numbers alone)"
    if row["name"] == "forms":
        refused = [key[:-7] for key in numbers if key.endswith(": tried") and not numbers[key[:-5] + "counted"]]
        return f" (never: {', '.join(refused)})" if refused else ""
    if row["name"] == "nothing" and numbers.get("most_paid_for_nothing"):
        return f" (at most {numbers['most_paid_for_nothing']:g})"
    return ""
