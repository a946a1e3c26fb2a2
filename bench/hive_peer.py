"""The public server, `hive-evolve[server]` as the package index has it: installed apart, filled by SQL, started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from socket import create_server
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any

from bench.hive_world import TASK, World, tally
from bench.rows import say

VERSION = "0.2.5"
STARTS_S = 60.0
CONFIG = {
    "verify": True, "verification_mode": "on_submit", "mutable_paths": ["pack.py"], "score_key": "score",
    "direction": "maximize", "result_format": "stdout_keyed", "sandbox": {},
}  # fmt: skip


@dataclass(frozen=True)
class Served:
    """A server that runs: where it listens, and its first process."""

    address: tuple[str, int]
    pid: int


def install_peer() -> Path:
    """The interpreter of an environment of its own below the user's cache, made there the first time."""
    from evolvent.effects.session import default_cache

    folder = default_cache() / f"public-hive-{VERSION}"
    python, ready = folder / "bin" / "python", folder / ".ready"
    if ready.exists():
        return python
    say(f"installing the public server, hive-evolve[server] {VERSION}, apart in {folder}; about 150 MB, a minute")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    words = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    made = subprocess.run([*words, f"hive-evolve[server]=={VERSION}"], capture_output=True, text=True, check=False)
    if made.returncode:
        raise SystemExit(f"the public server cannot be installed:\n{made.stderr[-2000:]}")
    ready.touch()
    return python


def fill_peer(python: Path, url: str, world: World) -> None:
    """Its own tables by its own migration, then the rows; every run has an official number, as the hub's have."""
    import psycopg

    words = [str(python), "-m", "hive.server.migrate"]
    with TemporaryDirectory() as empty:
        subprocess.run(words, env=_environment(url), cwd=empty, check=True, capture_output=True)
    with psycopg.connect(url, autocommit=True) as connection:
        with connection.transaction():
            for table, columns, rows in _tables(world):
                with connection.cursor().copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(row)
            for table in ("forks", "posts", "comments", "claims", "skills"):
                connection.execute(f"SELECT setval('{table}_id_seq', (SELECT max(id) FROM {table}))")
        connection.execute("VACUUM ANALYZE")


def rank_claims(url: str, is_default: bool) -> None:
    """Let its task be as its own documentation makes one, ranked by what agents claim; or by official numbers."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE tasks SET config = %s", (None if is_default else json.dumps(CONFIG),))


@contextmanager
def serve_peer(python: Path, url: str, num_workers: int) -> Iterator[Served]:
    """Its server by uvicorn, as its documentation starts it, without the log of every request."""
    port = free_port()
    words = [str(python), "-m", "uvicorn", "hive.server.main:app", "--host", "127.0.0.1", "--port", str(port)]
    words += ["--workers", str(num_workers), "--no-access-log", "--log-level", "warning"]
    with TemporaryDirectory() as empty, running(words, _environment(url), Path(empty)) as process:
        yield wait_for(process, port)


@contextmanager
def running(words: Sequence[str], environment: dict[str, str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process and what it started, until the block ends."""
    with (folder / "said").open("w+b") as said:
        process = subprocess.Popen(words, env=environment, cwd=folder, stdout=said, stderr=said)
        try:
            yield process
        except BaseException:
            said.seek(0)
            say(said.read()[-3000:].decode(errors="replace"))
            raise
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(process: subprocess.Popen[bytes], port: int) -> Served:
    """Return once the server says that it is well."""
    end = monotonic() + STARTS_S
    while monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return Served(("127.0.0.1", port), process.pid)
        except (urllib.error.URLError, ConnectionError):
            sleep(0.1)
    raise SystemExit(f"no server on port {port}")


def free_port() -> int:
    """A port that nobody listens on."""
    with create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _environment(url: str) -> dict[str, str]:
    return {**os.environ, "DATABASE_URL": url, "PYTHONDONTWRITEBYTECODE": "1", "JWT_SECRET": "bench"}


def _tables(world: World) -> Iterator[tuple[str, str, Iterable[Sequence[Any]]]]:
    """Every table with its columns and rows, in the order in which they may refer to each other."""
    first, names, runs = world.runs[0].at, world.names, world.runs
    up, down, _ = tally(world)
    yield (
        "agents",
        "id, token, registered_at, last_seen_at, total_runs",
        (
            (name, token, first, runs[-1].at, sum(1 for _ in runs[i :: len(names)]))
            for i, (name, token) in enumerate(zip(names, world.tokens, strict=True))
        ),
    )
    yield "tasks", "id, name, description, repo_url, config, created_at, best_score, improvements", [
        (TASK, "Bin packing", "Pack items into as few bins as possible.", f"https://example.org/task--{TASK}",
         json.dumps(CONFIG), first, world.best.score, world.improvements)
    ]  # fmt: skip
    yield "forks", "id, task_id, agent_id, fork_url, ssh_url, base_sha, created_at", (
        (i, TASK, name, f"https://example.org/fork--{TASK}--{name}", f"git@example.org:fork--{TASK}--{name}.git",
         runs[0].sha, first)
        for i, name in enumerate(names, 1)
    )  # fmt: skip
    yield "runs", (
        "id, task_id, parent_id, agent_id, branch, tldr, message, score, verified, verification_status,"
        " verified_score, created_at, verified_at, fork_id"
    ), (
        (run.sha, TASK, None if run.parent is None else runs[run.parent].sha, names[run.agent], "main", run.tldr,
         run.message, run.score, run.score is not None, "failed" if run.score is None else "success", run.score,
         run.at, run.at, run.agent + 1)
        for run in runs
    )  # fmt: skip
    yield (
        "posts",
        "id, task_id, agent_id, content, run_id, upvotes, downvotes, created_at",
        (
            (
                i + 1,
                TASK,
                names[said.agent],
                said.words,
                None if said.run is None else runs[said.run].sha,
                up[i],
                down[i],
                said.at,
            )
            for i, said in enumerate(world.posts)
        ),
    )
    yield (
        "comments",
        "id, post_id, agent_id, content, created_at",
        ((i, said.about + 1, names[said.agent], said.words, said.at) for i, said in enumerate(world.comments, 1)),
    )
    yield (
        "claims",
        "id, task_id, agent_id, content, expires_at, created_at",
        (
            (i, TASK, names[said.agent], said.words, said.at + timedelta(hours=1), said.at)
            for i, said in enumerate(world.claims, 1)
        ),
    )
    yield (
        "skills",
        "id, task_id, agent_id, name, description, code_snippet, score_delta, upvotes, created_at",
        (
            (i, TASK, names[said.agent], said.words[:40], said.words, "pass\n", 0.01, len(world.skills) - i, said.at)
            for i, said in enumerate(world.skills, 1)
        ),
    )
    yield (
        "votes",
        "target_type, target_id, agent_id, type",
        (("post", post + 1, names[agent], kind) for post, agent, kind in world.votes),
    )
