"""Reads what the page of one run says: its numbers, the comparison that decided about it, and what it changed."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from evolvent.dashboard.diff import FileDiff, compare_files
from evolvent.dashboard.scale import Scale, write_number
from evolvent.dashboard.task_reading import read_task
from evolvent.dashboard.wording import after_title
from evolvent.errors import BadInput, EvolventError
from evolvent.hive.commits import take
from evolvent.hive.hub.hub import Hub
from evolvent.hive.hub.identity import HOUSE
from evolvent.hive.hub.jobs import is_compared_soon
from evolvent.hive.hub.repositories import Repositories, name_base, name_fork
from evolvent.hive.hub.runs import LISTED, find_run, tell_run
from evolvent.hive.hub.schema import runs
from evolvent.hive.hub.threads import read_threads
from evolvent.hive.task import Budget

Said = dict[str, Any]
Changed = tuple[list[FileDiff], str]

NUM_CHILDREN = 12
NUM_COMMENTS = 30
MAX_KEPT = 64  # comparisons of two commits, which can never change


def read_run(connection: Connection, task_id: str, prefix: str) -> Said:
    """A run by its commit, or the beginning of it; what it changed is read apart, outside of the database."""
    row = find_run(connection, task_id, prefix)
    said = read_task(connection, task_id)
    run, scale = tell_run(row, ""), said["scale"]
    parent = _find(connection, task_id, row["parent_sha"])
    asked = select(*LISTED).where(runs.c.task_id == task_id, runs.c.parent_sha == row["sha"]).order_by(runs.c.number)
    children = [tell_run(one, "") for one in connection.execute(asked).mappings()]
    if is_compared_soon(connection, task_id, row["sha"]):
        run["verification_status"] = "comparing"
    numbers = json.loads(row["numbers"]) if row["is_valid"] else []
    return said | {
        "run": run,
        "parent": parent,
        "children": children[:NUM_CHILDREN],
        "more_children": max(0, len(children) - NUM_CHILDREN),
        "numbers": numbers,
        "holdout": (run["holdout"] or {}).get("value"),
        "message": after_title(row["message"], row["tldr"]),
        "comparison": tell_comparison(connection, task_id, run["comparison"], scale),
        "comments": read_threads(connection, row["post_id"], per_page=NUM_COMMENTS)[0] if row["post_id"] else [],
    }


def tell_comparison(connection: Connection, task_id: str, said: Mapping[str, Any] | None, scale: Scale) -> list[Any]:
    """What the keep rule said, as pairs of a name and words."""
    if not said:
        return []
    against = _find(connection, task_id, said.get("against"))
    gain = said.get("gain") or [None] * 3
    reach = f" ({scale.write(gain[1])} to {scale.write(gain[2])})" if gain[1] is not None else ""
    incumbent = f"run {against['number']} {against['id'][:7]}" if against else str(said.get("against", ""))[:7]
    told = [
        ("Comparison", f"number {said.get('number')} of this task"),
        ("Incumbent", f"{incumbent}: {scale.write(said.get('incumbent'))}"),
        ("This run", scale.write(said.get("challenger"))),
        ("Gain", f"{scale.write(gain[0])}{reach}, better is more than 0"),
        ("Fresh seeds", f"{said.get('num')}"),
        ("p", f"{_write_p(said.get('p'))}, kept at {_write_p(said.get('level'))} or less"),
        ("Decision", "kept" if said.get("is_kept") else "not kept"),
        ("Why", str(said.get("why", ""))),
    ]
    empty = {"p": said.get("p"), "Gain": gain[0], "This run": said.get("challenger")}
    return [(name, words) for name, words in told if name not in empty or empty[name] is not None]


def read_change(hub: Hub, said: Mapping[str, Any]) -> Said:
    """What a run changed against the one that it builds on, else against the baseline."""
    task, run, parent = said["task"], said["run"], said["parent"]
    against = (parent["agent_id"], parent["id"]) if parent else (HOUSE, task["base_sha"])
    files: list[FileDiff] = []
    trouble = ""
    if against[1] != run["id"]:
        rules = json.dumps([task["mutable"], task["budget"]])
        try:
            files, trouble = _compare(hub.repositories, task["id"], (run["agent_id"], run["id"]), against, rules)
        except EvolventError as error:
            trouble = str(error)
    return {"files": files, "change_trouble": trouble}


@functools.lru_cache(maxsize=MAX_KEPT)
def _compare(kept: Repositories, task_id: str, ours: tuple[str, str], theirs: tuple[str, str], rules: str) -> Changed:
    mutable, budget = json.loads(rules)
    taken = []
    for agent, commit in (theirs, ours):
        name = name_base(task_id) if agent == HOUSE else name_fork(task_id, agent)
        found = take(kept.path(name), commit, tuple(mutable), Budget(**budget))
        if found.trouble:
            return [], f"{commit[:7]} holds no artifact: {found.trouble}"
        taken.append(found.files)
    return compare_files(*taken), ""


def _find(connection: Connection, task_id: str, sha: str | None) -> Said | None:
    if not sha:
        return None
    try:
        return tell_run(find_run(connection, task_id, sha, LISTED), "")
    except BadInput:
        return None


def _write_p(value: float | None) -> str:
    if value is None:
        return write_number(None)
    return f"{value:.2g}"
