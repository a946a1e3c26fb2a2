"""Cold starts made once per (what decides them, seed) and kept, so that arms and effects share them to the byte."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from evolvent.codec import encode, to_json
from evolvent.credit.advantage import imitate_all
from evolvent.effects.session import current
from evolvent.effects.versions import code_digest, modules_digest
from evolvent.plans import Improve, part
from evolvent.store import Run, origin
from evolvent.store.atomic import disk_errors_at, sweep, write_folder

PARTS = ("metrics.jsonl", "timings.jsonl", "episodes", "reports", "checkpoints", "private")
MANIFEST = "manifest.json"


def cold_start(plan: Improve, carry_out: Callable[[Improve, Run], Any]) -> tuple[Path, float]:
    """The finished run of a plan's cold start, and the seconds that it took when it was made.

    Whoever needs the same one at the same time waits for it; what was damaged is made again.
    """
    cold = cold_part(plan)
    key = digest(cold)
    session = current()
    home = session.cache / "cold-starts"
    entry = home / key
    with _alone(home / f"{key}.lock"):
        sweep(home)
        seconds = kept_seconds(entry)
        is_made = seconds is None
        if seconds is None:
            shutil.rmtree(entry, ignore_errors=True)
            write_folder(entry, lambda folder: _make(folder, cold, carry_out))
            seconds = kept_seconds(entry)
            assert seconds is not None
    session.cold.setdefault(key, (seconds, is_made))
    return entry / "run", seconds


def copy(before: Path, run: Run) -> None:
    """Put a finished cold start into a run directory, which then goes on as if it had made it itself."""
    with disk_errors_at(run.path):
        for name in PARTS:
            if (before / name).is_dir():
                shutil.copytree(before / name, run.path / name, dirs_exist_ok=True)
            elif (before / name).exists():
                shutil.copyfile(before / name, run.path / name)


def cold_part(plan: Improve) -> Improve:
    """The plan with everything of practice left out that cannot touch the cold start."""
    cold = plan.cold_start
    assert cold is not None
    # whoever imitates does not look at scores, so arms that differ in their reward alone may share
    is_blind = all(part(cold.advantage, name) is imitate_all for name in plan.trained)
    return replace(
        plan,
        recipe="cold-start",
        reward=getattr(plan.measured_by, "truth", plan.measured_by) if is_blind else plan.reward,
        truth=None if is_blind else plan.truth,
        num_steps=0,
        tasks_per_step=cold.tasks_per_step,
        group_size=cold.group_size,
        curriculum=cold.curriculum,
        advantage=cold.advantage,
        loss=cold.loss,
        optimizer=cold.optimizer,
        practice_workflow=None,
        max_tokens=None,
        updates_per_batch=1,
        refill=None,
        arena=None,
        eval_every=1,
    )


def digest(cold: Improve) -> str:
    """What decides a cold start, as a name: the plan with its seed, the code, and the versions of what it runs on.

    Parts that a recipe, or a user, keeps in a module of their own count with that module.
    """
    plan = encode(cold)
    about = [plan, code_digest(), modules_digest(plan), origin.versions()]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


def kept_seconds(entry: Path) -> float | None:
    """The seconds that an entry took, or None where it is absent or is not what was written."""
    try:
        manifest = json.loads((entry / MANIFEST).read_text("utf-8"))
        return float(manifest["seconds"]) if manifest["files"] == _sums(entry / "run") else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _make(folder: Path, cold: Improve, carry_out: Callable[[Improve, Run], Any]) -> None:
    start = time.perf_counter()
    run = Run.create(to_json(cold, indent=1) + "\n", cold.recipe, cold.seed, folder / "run")
    carry_out(cold, run)
    manifest = {"seconds": time.perf_counter() - start, "files": _sums(run.path)}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), "utf-8")


def _sums(run: Path) -> dict[str, str]:
    """SHA-256 of every file of a run, by its path."""
    files = sorted(p for p in run.rglob("*") if p.is_file() and p.name != "lock")
    return {str(p.relative_to(run)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other process holds the lock; the system frees it however a process ends."""
    with disk_errors_at(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
