"""Asks a task's scorer, in a process of its own: what to pose for a seed, and what predictions are worth."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
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
    """What the scorer said about predictions: one number for each case, or why there is none; `log` is the owner's."""

    cases: tuple[float, ...] = ()
    why: str = ""
    log: str = ""


class Scorer:
    """The scorer of a task at work on one bundle: a process that is started once and forks for each question.

    VerifierError where it breaks, is late, or says what no scorer may say.
    """

    def __init__(self, task: HiveTask, folder: Path, bundle: str = SEALED) -> None:
        self.task, self.where = task, f"{folder}: {SCORER}"
        data = folder / (HOLDOUT if bundle == HOLDOUT and (folder / HOLDOUT).is_dir() else SEALED)
        self._seconds = task.budget.scoring_seconds
        memory_bytes = task.budget.scoring_memory_mb * 2**20
        self._always: dict[str, Any] = {"scorer": str(folder / SCORER), "data": str(data)}
        self._always |= {"seconds": self._seconds, "memory_bytes": memory_bytes}
        self._empty = tempfile.TemporaryDirectory(prefix="evolvent-scorer-")
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the scorer ends
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-B", str(trusted_inside.__file__)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=self._empty.name,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )

    def __enter__(self) -> Scorer:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._process.communicate()
        self._log.close()
        self._empty.cleanup()

    def pose(self, seed: int) -> Mapping[str, bytes]:
        """The questions of one seed, as files below `inputs/`."""
        answer = self._ask({"verb": "pose", "seed": seed}, b"")
        files = {f"{INPUTS}/{name}": base64.b64decode(data) for name, data in answer["files"].items()}
        for path in files:
            if trouble := complain(path):
                raise VerifierError(f"the scorer poses a file that {trouble}", where=self.where, got=ascii(path))
        return files

    def score(self, seed: int, played: Played) -> Marks:
        """What it is worth that was written on one seed."""
        asked = {"verb": "score", "seed": seed, "times": dict(played.times)}
        asked["sizes"] = [len(one) for one in played.written]
        answer = self._ask(asked, b"".join(played.written))
        if "invalid" in answer:
            log = "".join(f"line {at} of sealed/score.py raised it\n" for at in answer.get("line", ()))
            return Marks(why=str(answer["invalid"]), log=log)
        cases = tuple(answer["cases"])
        low, high = self.task.range or (-sys.float_info.max, sys.float_info.max)
        if not all(low <= number <= high for number in cases):
            odd = next(number for number in cases if not low <= number <= high)
            raise VerifierError("the scorer left its range", where=self.where, got=odd, wanted=f"{low} to {high}")
        return Marks(cases)

    def _ask(self, asked: dict[str, Any], written: bytes) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        is_late = threading.Event()

        def give_up() -> None:
            is_late.set()
            self._end()

        watch = threading.Timer(self._seconds, give_up)
        watch.start()
        try:
            self._process.stdin.write(json.dumps(asked | self._always).encode() + b"\n" + written)
            self._process.stdin.flush()
            said = self._process.stdout.readline()
        except BrokenPipeError:
            said = b""
        finally:
            watch.cancel()
        if is_late.is_set():
            cure = "raise budget.scoring_seconds, or make it faster"
            got = f"no answer to {asked['verb']} after {self._seconds} s"
            raise VerifierError("the scorer is late", where=self.where, got=got, cure=cure)
        answer = _read(said)
        if answer is None or "broke" in answer:
            got = f"{(answer or {}).get('broke', 'no answer')} on {asked['verb']}\n{self._read_log()}"
            raise VerifierError("the scorer broke", where=self.where, got=got, cure="run it by hand on this seed")
        return answer

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _read_log(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=0.2)  # its last words
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - MAX_LOG))
        return self._log.read().decode(errors="replace")


def _read(said: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(said)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None
