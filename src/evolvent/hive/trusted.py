"""Asks a task's scorer, in a process of its own: what to pose for a seed, and what predictions are worth."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolvent.errors import VerifierError
from evolvent.hive import trusted_inside
from evolvent.hive.paths import complain
from evolvent.hive.play import Played
from evolvent.hive.task import INPUTS, SCORER, HiveTask

MAX_LOG = 4096
SEALED, HOLDOUT = "sealed", "holdout"


@dataclass(frozen=True)
class Marks:
    """What the scorer said about predictions: one number for each case, or why there is none."""

    cases: tuple[float, ...] = ()
    why: str = ""


def pose(task: HiveTask, folder: Path, seed: int, bundle: str = SEALED) -> Mapping[str, bytes]:
    """The questions of one seed, as files below `inputs/`; VerifierError where the scorer breaks."""
    answer = _ask(task, folder, {"verb": "pose", "seed": seed, "bundle": bundle}, b"")
    files = {f"{INPUTS}/{name}": base64.b64decode(data) for name, data in answer["files"].items()}
    for path in files:
        if trouble := complain(path):
            raise VerifierError(f"the scorer poses a file that {trouble}", where=f"{folder}: {SCORER}", got=ascii(path))
    return files


def score(task: HiveTask, folder: Path, seed: int, played: Played, bundle: str = SEALED) -> Marks:
    """What it is worth that was written on one seed; VerifierError where it is the scorer that breaks."""
    asked = {"verb": "score", "seed": seed, "bundle": bundle, "times": dict(played.times)}
    asked["sizes"] = [len(one) for one in played.written]
    answer = _ask(task, folder, asked, b"".join(played.written))
    if "invalid" in answer:
        return Marks(why=str(answer["invalid"]))
    cases = tuple(answer["cases"])
    low, high = task.range or (-sys.float_info.max, sys.float_info.max)
    if not all(low <= number <= high for number in cases):
        odd = next(number for number in cases if not low <= number <= high)
        raise VerifierError(
            "the scorer left its range", where=f"{folder}: {SCORER}", got=odd, wanted=f"{low} to {high}"
        )
    return Marks(cases)


def _ask(task: HiveTask, folder: Path, asked: dict[str, Any], written: bytes) -> dict[str, Any]:
    bundle = asked.pop("bundle")
    data = folder / (HOLDOUT if bundle == HOLDOUT and (folder / HOLDOUT).is_dir() else SEALED)
    seconds, memory_bytes = task.budget.scoring_seconds, task.budget.scoring_memory_mb * 2**20
    asked |= {"scorer": str(folder / SCORER), "data": str(data), "seconds": seconds, "memory_bytes": memory_bytes}
    with tempfile.TemporaryDirectory(prefix="evolvent-scorer-") as empty:
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-B", str(trusted_inside.__file__)],
                input=json.dumps(asked).encode() + b"\n" + written,
                capture_output=True,
                cwd=empty,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
                timeout=seconds,
                check=False,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            cure = "raise budget.scoring_seconds, or make it faster"
            got = f"no answer to {asked['verb']} after {seconds} s"
            raise VerifierError("the scorer is late", where=f"{folder}: {SCORER}", got=got, cure=cure) from None
    answer = _read(done.stdout) if done.returncode == 0 else None
    if answer is None:
        raise VerifierError(
            "the scorer broke",
            where=f"{folder}: {SCORER}",
            got=f"exit {done.returncode} on {asked['verb']}\n{done.stderr.decode(errors='replace')[-MAX_LOG:]}",
            cure="run it by hand on this seed",
        )
    return answer


def _read(said: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(said)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None
