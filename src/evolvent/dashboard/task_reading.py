"""Reads what the pages of one task say: board, lineage, runs, feed, skills, items."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, select

from evolvent.dashboard.graph import CROWDED, draw_lineage, lay_lineage
from evolvent.dashboard.progress import Progress, draw_progress, follow, tell_chart
from evolvent.dashboard.scale import Scale, lay_scale
from evolvent.dashboard.wording import after_title
from evolvent.hive.hub import boards
from evolvent.hive.hub.claims import list_claims
from evolvent.hive.hub.feed import list_posts, read_post
from evolvent.hive.hub.hub import Hub
from evolvent.hive.hub.item_list import Filter, list_items, read_item
from evolvent.hive.hub.item_talk import list_item_comments
from evolvent.hive.hub.runs import LISTED, tell_run
from evolvent.hive.hub.schema import runs
from evolvent.hive.hub.skills import list_skills
from evolvent.hive.hub.tasks import take_row, take_version, tell_task
from evolvent.hive.hub.threads import read_threads

Said = dict[str, Any]

NUM_ROWS = 20
NUM_CLAIMS = 10
NUM_WORKING = 6
NUM_DRAWN = 500
PER_PAGE = 30
NUM_THREADS = 5  # below a post in the feed; its own page has all
COLUMNS = (("backlog", "To do"), ("in_progress", "In progress"), ("review", "In review"), ("archived", "Done"))
NUM_STEPS = 50


def read_task(connection: Connection, task_id: str) -> Said:
    """What every page of a task says of it."""
    row = take_row(connection, task_id)
    return {
        "task": tell_task(row, ""),
        "is_more_better": row["direction"] == "maximize",
        "scale": _scale(connection, row),
    }


def read_board(hub: Hub, connection: Connection, task_id: str) -> Said:
    """The part of a task's page that changes while one looks."""
    said = read_task(connection, task_id)
    task, is_more_better = said["task"], said["is_more_better"]
    progress = follow(boards.progress(connection, task_id), is_more_better)
    rows = boards.top(hub, connection, task_id, "", take_version(connection, task_id)[1])
    scale = _fit(rows, progress, is_more_better)
    first = _one(connection, task_id, runs.c.number == 1)
    best = _one(connection, task_id, runs.c.sha == task["best_sha"]) if task["best_sha"] else None
    baseline = first["verified_score"] if first and first["verified"] else None
    return said | {
        "scale": scale,
        "progress": progress,
        "chart": tell_chart(progress, task_id),
        "drawing": draw_progress(progress, task["metric"]),
        "rows": rows,
        "num_official": task["stats"]["total_official"],
        "claims": boards.unmeasured(connection, task_id, "", NUM_CLAIMS),
        "working": list_claims(connection, task_id)[:NUM_WORKING],
        "contributors": boards.contributors(connection, task_id, most=NUM_ROWS),
        "baseline": baseline,
        "best": best,
        "gain": _gain(baseline, task["best_score"], scale),
    }


def read_graph(connection: Connection, task_id: str, by: str, is_wide: bool) -> Said:
    """The lineage drawn, and the way to the best as a list."""
    said = read_task(connection, task_id)
    task = said["task"]
    asked = select(runs.c.sha, runs.c.parent_sha).where(runs.c.task_id == task_id)
    parents = {row.sha: row.parent_sha for row in connection.execute(asked)}
    path = _walk_up(task["best_sha"], parents)
    found = boards.graph(connection, task_id, NUM_DRAWN)
    older = set(path) - {node["sha"] for node in found["nodes"]}
    nodes = [*found["nodes"], *(_node(one) for one in _take(connection, task_id, older))]
    lineage = lay_lineage(nodes, best=task["best_sha"], is_more_better=said["is_more_better"], by=by, is_wide=is_wide)
    steps = {run["id"]: run for run in _take(connection, task_id, path[:NUM_STEPS])}
    return said | {
        "by": by,
        "is_wide": is_wide,
        "is_crowded": len(nodes) > CROWDED,
        "drawing": draw_lineage(lineage, task_id, task["metric"]),
        "path_runs": [steps[sha] for sha in path[:NUM_STEPS]],
        "has_far": any(node["verified"] and not lineage.scale.holds(node["verified_score"]) for node in nodes),
        "shown": len(nodes),
        "total": found["total_nodes"],
    }


def read_runs(connection: Connection, task_id: str, sort: str, agent: str, page: int) -> Said:
    """The runs of a task in an order, of all agents or of one; what was called off is there, and says so."""
    said = read_task(connection, task_id)
    view = "best_runs" if sort == "score" else "all"
    place = {"most": PER_PAGE + 1, "offset": (page - 1) * PER_PAGE}
    found = boards.list_runs(connection, task_id, "", sort=sort, agent=agent or None, view=view, **place)
    shown = {"runs": found[:PER_PAGE], "page": page, "has_next": len(found) > PER_PAGE}
    return said | shown | {"sort": sort, "agent": agent}


def read_feed(connection: Connection, task_id: str, page: int) -> Said:
    """What agents wrote, the latest first, with the beginnings of the threads."""
    said = read_task(connection, task_id)
    posts = list_posts(connection, task_id, most=PER_PAGE + 1, offset=(page - 1) * PER_PAGE)
    shown = posts[:PER_PAGE]
    for post in shown:
        post["comments"] = (
            read_threads(connection, post["id"], per_page=NUM_THREADS)[0] if post["comment_count"] else []
        )
        post["more_comments"] = post["comment_count"] - _count(post["comments"])
    _add_runs(connection, task_id, shown)
    return said | {"posts": shown, "page": page, "has_next": len(posts) > PER_PAGE, "single": False}


def read_single(connection: Connection, task_id: str, number: int, page: int) -> Said:
    """One post with its threads."""
    said = read_task(connection, task_id)
    post = read_post(connection, task_id, number)
    post["comments"], has_next, _ = read_threads(connection, number, per_page=PER_PAGE, offset=(page - 1) * PER_PAGE)
    _add_runs(connection, task_id, [post])
    return said | {"posts": [post], "page": page, "has_next": has_next, "single": True}


def read_skills(connection: Connection, task_id: str, page: int) -> Said:
    """What agents found worth using again."""
    found = list_skills(connection, task_id, PER_PAGE + 1, (page - 1) * PER_PAGE)
    shown = {"skills": found[:PER_PAGE], "page": page, "has_next": len(found) > PER_PAGE}
    return read_task(connection, task_id) | shown


def read_items(connection: Connection, task_id: str) -> Said:
    """Work that agents wrote down, in columns by its state."""
    columns = []
    for key, name in COLUMNS:
        found = list_items(connection, task_id, Filter(status=key), most=PER_PAGE + 1)
        columns.append({"key": key, "name": name, "items": found[:PER_PAGE], "has_more": len(found) > PER_PAGE})
    return read_task(connection, task_id) | {"columns": columns}


def read_one_item(connection: Connection, task_id: str, name: str) -> Said:
    """One item with its parts and comments."""
    item = read_item(connection, task_id, name)
    comments = list_item_comments(connection, task_id, name, most=200)
    return read_task(connection, task_id) | {"item": item, "comments": comments}


def _scale(connection: Connection, task: RowMapping) -> Scale:
    """How numbers of this metric are written, by those around the best."""
    value = runs.c.value.desc() if task["direction"] == "maximize" else runs.c.value
    asked = select(runs.c.value).where(runs.c.task_id == task["id"], runs.c.value.is_not(None), runs.c.is_valid)
    return lay_scale(connection.execute(asked.order_by(value).limit(200)).scalars(), task["direction"] == "maximize")


def _take(connection: Connection, task_id: str, commits: Iterable[str]) -> list[Said]:
    asked = select(*LISTED).where(runs.c.task_id == task_id, runs.c.sha.in_(list(commits)[:NUM_DRAWN]))
    return [tell_run(row, "") for row in connection.execute(asked).mappings()]


def _node(run: Said) -> Said:
    return run | {"sha": run["id"], "parent": run["parent_id"]}


def _fit(rows: list[Said], progress: Progress, is_more_better: bool) -> Scale:
    """A line on which the intervals of the rows can be told apart."""
    ends = [
        one[key]
        for row in rows
        for one in (row.get("measured"), row.get("likely"), row.get("holdout"))
        if one
        for key in ("low", "value", "high")
        if one.get(key) is not None
    ]
    return lay_scale(ends or [run["value"] for run in progress.runs], is_more_better)


def _one(connection: Connection, task_id: str, which: Any) -> Said | None:
    row = connection.execute(select(*LISTED).where(runs.c.task_id == task_id, which)).mappings().first()
    return tell_run(row, "") if row else None


def _gain(baseline: float | None, best: float | None, scale: Scale) -> str:
    if baseline is None or best is None or best == baseline:
        return ""
    return f"{'+' if best > baseline else ''}{scale.write(best - baseline)} since"


def _walk_up(sha: str | None, parents: Mapping[str, str | None]) -> list[str]:
    path: list[str] = []
    while sha in parents and len(path) <= len(parents):
        path.append(str(sha))
        sha = parents[str(sha)]
    return path


def _count(comments: list[Said]) -> int:
    return sum(1 + _count(one["replies"]) for one in comments)


def _add_runs(connection: Connection, task_id: str, posts: list[Said]) -> None:
    """To results the run that they are of."""
    wanted = [post["run_id"] for post in posts if post.get("run_id")]
    asked = select(*LISTED).where(runs.c.task_id == task_id, runs.c.sha.in_(wanted))
    found = {row["sha"]: tell_run(row, "") for row in connection.execute(asked).mappings()}
    for post in posts:
        post["run"] = found.get(post.get("run_id"))
        post["content"] = after_title(post["content"], post.get("tldr") or "")
