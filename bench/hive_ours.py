"""Our hub, filled with the same rows through its own tables, with real commits in a repository for every agent."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bench.hive_peer import Served, free_port, running, wait_for
from bench.hive_world import TASK, World, tally

NUM_SEEDS = 5  # that an official number is the mean of
CHUNK = 2_000


def push_commits(hub: Any, names: Sequence[str], num_commits: int) -> list[list[str]]:
    """So many commits on top of the baseline in a fork of every agent, by git; the same names of commits every time."""
    made = []
    for name in names:
        base = hub.repositories.fork(TASK, name)
        fork = hub.repositories.path(f"fork--{TASK}--{name}")
        marks = fork / "marks"
        words = [
            "git",
            "-c",
            "core.fsync=none",
            "--git-dir",
            str(fork),
            "fast-import",
            "--quiet",
            "--done",
            f"--export-marks={marks}",
        ]
        subprocess.run(words, input="".join(_commits(name, base, num_commits)).encode(), check=True)
        found = dict(line.split() for line in marks.read_text("ascii").splitlines())
        marks.unlink()
        made.append([found[f":{i}"] for i in range(1, num_commits + 1)])
    return made


def fill_hub(hub: Any, world: World, pushed: Sequence[Sequence[str]]) -> None:
    """The rows of the world in the place of the baseline's, and every commit noted as pushed."""
    from sqlalchemy import delete, insert, text, update

    from evolvent.hive.hub import schema

    tables = schema.metadata.tables
    with hub.database.write() as connection:
        for name in ("jobs", "search_entries", "posts", "runs"):
            connection.execute(delete(tables[name]).where(tables[name].c.task_id == TASK))
        row = connection.execute(schema.tasks.select()).mappings().one()
        for name, rows in _tables(world, pushed, row["digest"]):
            for part in _parts(rows):
                connection.execute(insert(tables[name]), part)
        connection.execute(update(schema.tasks).values(_counters(world)))
        if not hub.database.is_sqlite:
            for name in ("posts", "comments", "claims", "skills"):
                connection.execute(text(f"SELECT setval('{name}_id_seq', (SELECT max(id) FROM {name}))"))
    if not hub.database.is_sqlite:  # what autovacuum does within a minute; a hub on SQLite never does it
        with hub.database.write() as connection:
            connection.execute(text("ANALYZE"))


def tell_ours(hub: Any) -> str:
    """What its database does so that nothing answered is lost."""
    with hub.database.read() as connection:
        if not hub.database.is_sqlite:
            return str(connection.engine.dialect.driver)
        words = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        }
    levels = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}
    return f"{sqlite3.sqlite_version},{words['journal_mode']},synchronous={levels[words['synchronous']]}"


def check_counters(hub: Any) -> None:
    """The counters that were written are those that the hub counts itself."""
    from evolvent.hive.hub.scores import count_again
    from evolvent.hive.hub.tasks import take_row

    with hub.database.read() as connection:
        row, counted = take_row(connection, TASK), count_again(connection, TASK)
    assert {name: row[name] for name in counted} == counted, (dict(row), counted)


@contextmanager
def serve_ours(home: Path, url: str | None) -> Iterator[Served]:
    """A server of the hub in this folder, in a process of its own."""
    port = free_port()
    words = [sys.executable, "-m", "bench.hive_side", str(home), str(port), *([url] if url else [])]
    root = str(Path(__file__).resolve().parents[1])
    with running(words, {**os.environ, "PYTHONPATH": root}, home) as process:
        yield wait_for(process, port)


def _commits(name: str, base: str, num: int) -> Iterator[str]:
    for i in range(1, num + 1):
        yield f"commit refs/heads/main\nmark :{i}\ncommitter {name} <{name}@localhost> {1_700_000_000 + i} +0000\n"
        yield f"data 10\ntry {i:05d}\n" + (f"from {base}\n" if i == 1 else "") + "\n"
    yield "done\n"


def _parts(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    part: list[dict[str, Any]] = []
    for row in rows:
        part.append(row)
        if len(part) == CHUNK:
            yield part
            part = []
    if part:
        yield part


def _counters(world: World) -> dict[str, Any]:
    return {
        "num_runs": len(world.runs), "num_agents": len(world.names), "num_posts": len(world.posts),
        "num_official": sum(run.score is not None for run in world.runs), "num_improvements": world.improvements,
        "num_skills": len(world.skills), "best_sha": world.best.sha, "best_value": world.best.score,
        "limits": "{}",
    }  # fmt: skip


def _tables(
    world: World, pushed: Sequence[Sequence[str]], digest: str
) -> Iterator[tuple[str, Iterable[dict[str, Any]]]]:
    """Every table with its rows, in the order in which they may refer to each other."""
    from evolvent.hive.hub.identity import hash_secret

    names, first, last = world.names, _moment(world.runs[0].at), _moment(world.runs[-1].at)
    yield (
        "agents",
        (
            {"id": name, "token_hash": hash_secret(token), "registered_at": first, "last_seen_at": last, "num_runs": 0}
            for name, token in zip(names, world.tokens, strict=True)
        ),
    )
    yield (
        "commits",
        (
            {"task_id": TASK, "agent_id": name, "sha": sha, "pushed_at": first}
            for name, shas in zip(names, pushed, strict=True)
            for sha in shas
        ),
    )
    yield "spent", ({"task_id": TASK, "agent_id": name, "evaluations": 0} for name in names)
    yield "runs", _runs(world, digest)
    yield "posts", _posts(world)
    yield "search_entries", (
        {"task_id": TASK, "kind": "post" if said.run is None else "result", "ref": i + 1,
         "agent_id": names[said.agent], "text": said.words, "created_at": _moment(said.at)}
        for i, said in enumerate(world.posts)
    )  # fmt: skip
    yield "comments", (
        {"id": i, "post_id": said.about + 1, "agent_id": names[said.agent], "content": said.words,
         "created_at": _moment(said.at)}
        for i, said in enumerate(world.comments, 1)
    )  # fmt: skip
    yield "claims", (
        {"id": i, "task_id": TASK, "agent_id": names[said.agent], "content": said.words,
         "expires_at": _moment(said.at + timedelta(hours=1)), "created_at": _moment(said.at)}
        for i, said in enumerate(world.claims, 1)
    )  # fmt: skip
    yield "skills", (
        {"id": i, "task_id": TASK, "agent_id": names[said.agent], "name": said.words[:40], "description": said.words,
         "code_snippet": "pass\n", "score_delta": 0.01, "upvotes": len(world.skills) - i,
         "created_at": _moment(said.at)}
        for i, said in enumerate(world.skills, 1)
    )  # fmt: skip
    yield (
        "votes",
        (
            {"target_type": "post", "target_id": post + 1, "agent_id": names[agent], "type": kind}
            for post, agent, kind in world.votes
        ),
    )


def _runs(world: World, digest: str) -> Iterator[dict[str, Any]]:
    best = 0.0
    post_ids = {said.run: i for i, said in enumerate(world.posts, 1)}
    for i, run in enumerate(world.runs):
        is_kept = (run.score or 0.0) > best
        best = max(best, run.score or 0.0)
        yield {
            "task_id": TASK, "sha": run.sha, "number": i + 1, "agent_id": world.names[run.agent], "branch": "main",
            "parent_sha": None if run.parent is None else world.runs[run.parent].sha, "tldr": run.tldr,
            "message": run.message, "claim": run.score, "task_digest": digest, "created_at": _moment(run.at),
            "status": "failed" if run.score is None else "success", "why": "" if run.score else "late on seed 3",
            "value": run.score, "low": run.score and run.score - 0.003, "high": run.score and run.score + 0.003,
            "numbers": json.dumps([run.score] * NUM_SEEDS if run.score else []), "num_cases": NUM_SEEDS,
            "squares": 1e-5, "is_kept": is_kept if run.score else None, "verified_at": _moment(run.at),
            "kept_at": _moment(run.at) if is_kept else None, "post_id": post_ids[i],
        }  # fmt: skip


def _posts(world: World) -> Iterator[dict[str, Any]]:
    up, down, answers = tally(world)
    for i, said in enumerate(world.posts):
        yield {
            "id": i + 1, "task_id": TASK, "agent_id": world.names[said.agent], "content": said.words,
            "run_sha": None if said.run is None else world.runs[said.run].sha, "upvotes": up[i], "downvotes": down[i],
            "num_comments": answers[i], "created_at": _moment(said.at),
        }  # fmt: skip


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="microseconds")
