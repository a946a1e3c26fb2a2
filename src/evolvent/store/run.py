"""Turns a run into a directory that a person, or the next stage, can read alone, and that survives a kill.

`out` is the exact folder of the run, new or empty; without it the run goes to `runs/<recipe>-<seed>-<n>` under the
working directory, n being the first number that is free.
"""

from __future__ import annotations

import contextlib
import json
import platform
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput, StoreError
from evolvent.records import Episode, Report
from evolvent.store import origin
from evolvent.store.atomic import append_line, disk_errors_at, sweep, temporary_beside, write_folder, write_text
from evolvent.store.folder import given_folder, hold, new_folder, occupied
from evolvent.store.lines import as_line, keep_lines_up_to, read_lines

SCHEMA = 1
FOLDERS = ("episodes", "reports", "checkpoints", "private")
DIAGNOSES = "diagnoses"  # a folder that only runs with an arena have
_STEP = re.compile(r"step-(\d{6,})(?:-([a-z0-9._-]+))?$")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*$")


@dataclass(frozen=True)
class Run:
    """A run directory: what was planned, what happened at each step, and what was kept."""

    path: Path
    info: Mapping[str, Any]

    @staticmethod
    def create(plan_json: str, recipe: str, seed: int, out: Path | None = None) -> Run:
        """Make the directory, and write down the plan, the versions and the seed."""
        path = new_folder(Path.cwd() / "runs", f"{recipe}-{seed}") if out is None else given_folder(Path(out), FOLDERS)
        info = {
            "schema": SCHEMA,
            "run": path.name,
            "recipe": recipe,
            "seed": seed,
            "versions": origin.versions(),
            "platform": platform.platform(),
            "commit": origin.commit(),
        }
        run = Run(path, info)
        with disk_errors_at(path), run.lock():
            if (path / "run.json").exists():
                raise occupied(path)
            for folder in FOLDERS:
                (path / folder).mkdir(exist_ok=True, mode=0o700 if folder == "private" else 0o777)
            write_text(path / "plan.json", plan_json)
            # run.json comes last: a folder without it never became a run
            write_text(path / "run.json", json.dumps(info, indent=1) + "\n")
        return run

    @staticmethod
    def reopen(path: Path | str) -> Run:
        """Open a directory that `create` made, for reading or for going on."""
        path = Path(path).absolute()
        missing = [name for name in ("run.json", "plan.json") if not (path / name).is_file()]
        if missing:
            raise StoreError(
                f"{path.name} is not a run: {' and '.join(missing)} missing",
                where=str(path),
                got="no such folder"
                if not path.is_dir()
                else ", ".join(sorted(p.name for p in path.iterdir())[:12]) or "nothing",
                wanted="a folder with run.json and plan.json",
                cure="name a folder that evolvent run has written (by default runs/<recipe>-<seed>-<n>)",
            )
        return Run(path, _read_info(path / "run.json"))

    @property
    def name(self) -> str:
        """The name under which the run began."""
        return str(self.info["run"])

    @property
    def seed(self) -> int:
        """The seed from which all chance of the run comes."""
        return int(self.info["seed"])

    @property
    def plan_json(self) -> str:
        """The plan as it was written before the first step."""
        return (self.path / "plan.json").read_text(encoding="utf-8")

    def lock(self) -> AbstractContextManager[None]:
        """Hold the directory for this process; the system frees it however the process ends."""
        return hold(self.path / "lock")

    # ------------------------------------------------------------ numbers

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Add a line of numbers; nothing that a clock said belongs here."""
        append_line(self.path / "metrics.jsonl", as_line(step, values))

    def time(self, step: int, values: Mapping[str, Any]) -> None:
        """Add a line of clock values, in seconds."""
        append_line(self.path / "timings.jsonl", as_line(step, values))

    def metrics(self) -> list[dict[str, Any]]:
        """Every line that `log` wrote."""
        return read_lines(self.path / "metrics.jsonl")

    def timings(self) -> list[dict[str, Any]]:
        """Every line that `time` wrote."""
        return read_lines(self.path / "timings.jsonl")

    def note_stop(self, step: int, error: Exception | None) -> None:
        """Write down why the run stopped, as far as the disk lets us; None forgets it."""
        path = self.path / "stopped.json"
        if error is None:
            path.unlink(missing_ok=True)
            return
        with contextlib.suppress(OSError):  # the error itself is already on its way to the user
            write_text(
                path, json.dumps({"step": step, "kind": type(error).__name__, "why": str(error)}, indent=1) + "\n"
            )

    def stop(self) -> dict[str, Any] | None:
        """Why the run stopped before its end: step, kind of error and its words."""
        path = self.path / "stopped.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    # ------------------------------------------------------------ reports and episodes

    def keep_report(self, report: Report, name: str | None = None) -> Path:
        """Write a report under its step and name; an empty name gives the plain `step-NNNNNN.json`."""
        report = report if name is None else replace(report, name=name)
        path = self._file("reports", report.step, report.name, "json")
        write_text(path, to_json(report, indent=1) + "\n")
        return path

    def report(self, step: int, name: str = "") -> Report:
        """One report."""
        path = self._file("reports", step, name, "json")
        if not path.is_file():
            there = ", ".join(f"{r.step} {r.name!r}" for r in self.reports())
            raise StoreError("no such report", where=str(path), got=there or "no reports", wanted=f"{step} {name!r}")
        return _read_report(path)

    def reports(self) -> list[Report]:
        """Every report, by step and name."""
        return [_read_report(path) for path in self._numbered("reports")]

    def keep_diagnosis(self, step: int, diagnosis: Any) -> Path:
        """Write down what a round of the arena found at a step."""
        path = self._file(DIAGNOSES, step, "", "json")
        write_text(path, to_json(diagnosis, indent=1) + "\n")
        return path

    def diagnoses(self) -> list[Any]:
        """What every round of the arena found, oldest first."""
        return [from_json(path.read_text(encoding="utf-8")) for path in self._numbered(DIAGNOSES)]

    def keep_episodes(
        self,
        step: int,
        episodes: Sequence[Episode],
        *,
        name: str = "",
        credit: Mapping[tuple[str, str], Sequence[float]] | None = None,
    ) -> Path:
        """Write a step's episodes, private parts apart; `credit` gives a float per token of (episode id, seat)."""
        from evolvent.store.episodes import write_episodes

        path = self._file("episodes", step, name, "parquet")
        private = self.path / "private" / path.name
        write_episodes(path, episodes, run=self.name, step=step, credit=credit, private=private)
        return path

    def episodes(self, step: int | None = None, name: str | None = None, where: str = "") -> list[Episode]:
        """Kept episodes with their private parts: of one step or all, of one name or all, filtered by SQL."""
        from evolvent.store.episodes import read_episodes

        paths = self.episode_files(step, name)
        private = [at for path in paths if (at := self.path / "private" / path.name).exists()]
        return read_episodes(paths, where, private=private) if paths else []

    def episode_files(self, step: int | None = None, name: str | None = None) -> list[Path]:
        """The Parquet files of kept episodes, oldest first."""
        found = [(path, _step_and_name(path)) for path in self._numbered("episodes")]
        return [path for path, (at, said) in found if step in (None, at) and name in (None, said)]

    # ------------------------------------------------------------ checkpoints

    def keep_checkpoint(self, step: int, fill: Callable[[Path], None]) -> Path:
        """Write a checkpoint: `fill` puts a folder per policy and `state/` into the folder that it is given."""
        path = self._file("checkpoints", step, "", "")
        write_folder(path, fill)
        return path

    def checkpoints(self) -> list[tuple[int, Path]]:
        """Every finished checkpoint, oldest first."""
        return [(_step_and_name(path)[0], path) for path in self._numbered("checkpoints")]

    def last_checkpoint(self) -> tuple[int, Path] | None:
        """The newest finished checkpoint."""
        return next(reversed(self.checkpoints()), None)

    def prune(self, keep_last: int) -> None:
        """Delete all checkpoints but the newest `keep_last`."""
        if keep_last < 1:
            raise BadInput("a run keeps at least one checkpoint", got=keep_last, wanted=">= 1", cure="keep_last=1")
        for _, path in self.checkpoints()[:-keep_last]:
            _remove(path)

    def rewind(self, step: int) -> None:
        """Forget everything after `step` and every unfinished file, so that a resumed run writes it again."""
        sweep(self.path)
        for folder in (*FOLDERS, DIAGNOSES):
            sweep(self.path / folder)
            for path in self._numbered(folder):
                if _step_and_name(path)[0] > step:
                    _remove(path)
        for name in ("metrics.jsonl", "timings.jsonl"):
            keep_lines_up_to(self.path / name, step)

    def _file(self, folder: str, step: int, name: str, kind: str) -> Path:
        if name and not _NAME.match(name):
            raise BadInput("not a name for a file", got=name, wanted="small letters, digits, dot, dash, underscore")
        stem = f"step-{step:06d}" + (f"-{name}" if name else "")
        return self.path / folder / (f"{stem}.{kind}" if kind else stem)

    def _numbered(self, folder: str) -> list[Path]:
        home = self.path / folder
        if folder == DIAGNOSES and not home.is_dir():
            return []
        found = [p for p in home.iterdir() if _STEP.match(p.name.removesuffix(p.suffix if p.is_file() else ""))]
        return sorted(found, key=_step_and_name)


def _step_and_name(path: Path) -> tuple[int, str]:
    found = _STEP.match(path.stem if path.is_file() else path.name)
    assert found is not None, path
    return int(found[1]), found[2] or ""


def _read_info(path: Path) -> dict[str, Any]:
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        schema = info["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            "run.json is broken", where=str(path), got=str(error), wanted="a JSON object with `schema`",
            cure="restore the file from a copy, or start a new run from plan.json",
        ) from error  # fmt: skip
    if not isinstance(schema, int) or schema > SCHEMA:
        raise StoreError(
            "the run was written by a newer version of evolvent",
            where=str(path),
            got=f"schema {schema} (evolvent {info.get('versions', {}).get('evolvent')})",
            wanted=f"schema {SCHEMA} or older",
            cure="pip install --upgrade evolvent",
        )
    return dict(info)


def _read_report(path: Path) -> Report:
    try:
        report = from_json(path.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            "the report is broken", where=str(path), got=str(error), cure="measure again: evolvent eval"
        ) from error
    assert isinstance(report, Report), path
    return report


def _remove(path: Path) -> None:
    """Delete a file or a folder so that a kill half-way leaves only a name that `sweep` clears away."""
    if path.is_dir():
        doomed = temporary_beside(path)
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
