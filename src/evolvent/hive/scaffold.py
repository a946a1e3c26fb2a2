"""Writes a small task that works, as a beginning for one's own, and tries a task in more ways than `prove` does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from evolvent.envs.sandbox import Ended, Limits, best
from evolvent.errors import BadInput, nearest
from evolvent.hive.prove import Check, prove
from evolvent.hive.sealed import Bench
from evolvent.hive.space import SPACE, read_space
from evolvent.hive.task import CONFIG, Direction, HiveTask, check_metric
from evolvent.hive.task_folder import build_task
from evolvent.seeds import derive
from evolvent.store import write_bytes

HOME = Path(__file__).parent / "starter"
LEFT_OVER = "__pycache__"
FOR_MYPY = "# mypy: ignore-errors\n"  # stands in our copy alone
EVAL = "eval/eval.sh"
SKIPPED = 77  # the exit status of a test that could not be made here, as automake has it
NUM_SEEDS = 3
EVAL_S, EVAL_BYTES, ROOM = 60.0, 2**30, 2**24
ERROR = "min(1.0, 4 * abs(one - other))"
WORTH = {
    Direction.MAXIMIZE: (f"1 - {ERROR}", "1 less 4 times the error, as a mean"),
    Direction.MINIMIZE: (ERROR, "4 times the error, as a mean"),
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What a new task is to be called, and what is measured; the seeds depend on `secret`."""

    name: str
    metric: str
    direction: str
    secret: int

    def __post_init__(self) -> None:
        check_metric(self.metric, "metric")
        if self.direction not in list(Direction):
            cure = nearest(self.direction, list(Direction))
            raise BadInput(
                "no such direction", where="direction", got=self.direction, wanted=" | ".join(Direction), cure=cure
            )


def is_task(folder: Path) -> bool:
    """Whether a task was declared here, sound or not."""
    return (folder / CONFIG).exists()


def name_after(folder: Path) -> str:
    """A name for the task in a folder, as near to that of the folder as a name may be."""
    words = re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-")[:20].strip("-")
    return words if len(words) > 1 else "my-task"


def write_starter(folder: Path, wish: Wish) -> list[str]:
    """Write the files of a task that works into a new or empty folder; their paths in it."""
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if there or folder.exists() != folder.is_dir():
        raise BadInput(
            "something is here already, and nothing is overwritten",
            where=str(folder),
            got=", ".join(there[:5]) or "a file of this name",
            wanted=f"a new folder, an empty one, or one with {CONFIG} to prove the task in it",
            cure="evolvent hive new another-folder",
        )
    files = starter_files(wish)
    build_task(files, str(folder))  # a name that no task may have is refused before anything is written
    for path in sorted(files, key=CONFIG.__eq__):  # what makes a task of the folder comes last
        write_bytes(folder / path, files[path])
    (folder / "sealed").chmod(0o700)
    return list(files)


def starter_files(wish: Wish) -> dict[str, bytes]:
    """Every file of the task, by its path."""
    code, words = WORTH[Direction(wish.direction)]
    seeds = {
        kind: ", ".join(str(derive(wish.secret, "hive", "new", kind, i) >> 1) for i in range(NUM_SEEDS))
        for kind in ("sealed", "holdout")
    }
    marks = {
        '"@WORTH@"': code,
        "@WORDS@": words,
        "@NAME@": wish.name,
        "@METRIC@": wish.metric,
        "@DIRECTION@": wish.direction,
        "@SEEDS@": seeds["sealed"],
        "@HOLDOUT_SEEDS@": seeds["holdout"],
    }
    found = {}
    for path in sorted(HOME.rglob("*")):
        if path.is_file() and LEFT_OVER not in path.parts:
            text = path.read_text("utf-8").removeprefix(FOR_MYPY)
            for mark, word in marks.items():
                text = text.replace(mark, word)
            found[path.relative_to(HOME).as_posix()] = text.encode()
    return found


def try_task(task: HiveTask, bench: Bench) -> list[Check]:
    """Everything that `prove` tries, and what agents and searchers find beside the baseline."""
    more = (_check_eval(task), _check_space(task))
    return prove(task, bench) + [check for check in more if check is not None]


def _check_eval(task: HiveTask) -> Check | None:
    """Agents that measure by themselves find a number in what is printed."""
    files = task.below("public")
    if EVAL not in files:
        return None
    name, size = f"{EVAL} prints {task.metric}", sum(map(len, files.values()))
    limits = Limits(
        wall_s=EVAL_S, cpu_s=EVAL_S, memory_bytes=EVAL_BYTES, file_bytes=size + ROOM, disk_bytes=size + ROOM
    )
    ran = best().run(["sh", EVAL], files=files, limits=limits)
    if ran.exit == SKIPPED:
        return Check(name, True, f"not tried: {_first_line(ran.stderr)}")
    if ran.outcome is Ended.TIMED_OUT:  # a training run of an hour is no fault
        return Check(name, True, f"not waited for: it takes longer than {EVAL_S:g} s")
    if ran.outcome is not Ended.OK:
        return Check(name, False, f"{ran.outcome}, exit {ran.exit}: {_last_line(ran.stderr)}")
    value = read_metric(ran.stdout, task.metric)
    seen = f"no line `{task.metric}: NUMBER` among {len(ran.stdout.splitlines())}" if value is None else f"{value:.6g}"
    return Check(name, value is not None, seen)


def read_metric(printed: str, metric: str) -> float | None:
    """The number behind the last `metric:` of what an evaluation printed, as agents read it."""
    found = re.findall(rf"^{re.escape(metric)}:\s*(\S+)\s*$", printed, re.MULTILINE)
    try:
        return float(found[-1]) if found else None
    except ValueError:
        return None


def _check_space(task: HiveTask) -> Check | None:
    """Searchers find a space, and the baseline in it."""
    public = task.below("public")
    if SPACE not in public:
        return None
    name = f"{SPACE} holds the baseline"
    try:
        space = read_space(public[SPACE], f"public/{SPACE}")
    except BadInput as error:
        return Check(name, False, _first_line(str(error)))
    if space.file not in task.baseline:
        return Check(name, False, f"{space.file} is no file at a mutable path")
    point = space.read(public[space.file])
    seen = f"{len(space.params)} parameters" if point else f"public/{space.file} is no point of it"
    return Check(name, point is not None, seen)


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _last_line(text: str) -> str:
    return _first_line("\n".join(reversed(text.splitlines())))
