"""Writes corpora of tasks: about the worlds of a corpus, each world in turn, or as task folders of templates."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolvent.envs.databases import Database, name_world
from evolvent.envs.databases.corpus import WORLDS, digest_of, read_world, reference_to, worlds_in
from evolvent.envs.sandbox import best
from evolvent.errors import BadInput
from evolvent.policies.archived import Archived
from evolvent.records import Origin, Private, Reference, Task, said
from evolvent.seeds import derive, stream
from evolvent.store.atomic import append_line, sweep, whole_lines, write_folder, write_text
from evolvent.synthesis.corpora import Corpus, Piece, Tell, count_worlds, finish, open_corpus
from evolvent.synthesis.duplicates import QUESTIONS_ALIKE, Seen
from evolvent.synthesis.graph_tasks import GraphTasks, write_graph_tasks
from evolvent.synthesis.stored import TASKS, relative, rooted, task_line
from evolvent.synthesis.structures import PROGRAMS, pose
from evolvent.synthesis.taxonomy import Centre, Taxonomy, WorldClass, arrange

JUDGE_OF_STATE = Reference("evolvent.rewards.state:check")
HELD_OUT = 5  # every fifth world of a corpus is for tests alone: the splits share no world
FOLDERS, ANSWERS, CHECKS = "tasks", "answers.jsonl", "checks"


@dataclass(frozen=True)
class Ask:
    """What a writer of tasks gets: the world as it is on disk, the seed, and how often this world has had its turn."""

    database: Database
    world: Reference
    seed: int
    turn: int
    policy: Any = None


Writer = Callable[[Ask], tuple[tuple[Task, ...], Mapping[str, int]]]


def write_structure(ask: Ask) -> tuple[tuple[Task, ...], Mapping[str, int]]:
    """One task of the structure class that a parametric world was made for."""
    database = ask.database
    structure = database.labels[0] if database.labels else ""
    if structure not in PROGRAMS:
        return (), {"worlds without a structure class": 1}
    exercise = pose(database, structure, stream(ask.seed, "exercise", database.name, ask.turn))
    data = {**name_world(ask.world), "state": exercise.state, "observations": list(exercise.observations)}
    task = Task(
        task_id=f"{database.name}-{ask.seed}-{ask.turn}",
        family=structure,
        level=1,
        prompt=(said("user", exercise.question),),
        private=Private(exercise.answer, data, exercise.solution),
        judge=JUDGE_OF_STATE,
        origin=Origin("structure", (database.name,)),
    )
    return (task,), {}


def write_graph(ask: Ask) -> tuple[tuple[Task, ...], Mapping[str, int]]:
    """Tasks of walks over the tools of a world."""
    how = GraphTasks(seed=derive(ask.seed, "graph", ask.turn) % 2**31, policy=ask.policy)
    found = write_graph_tasks(ask.world, how)
    return found.tasks, found.funnel.counts


def write_program(ask: Ask) -> tuple[tuple[Task, ...], Mapping[str, int]]:
    """Tasks whose answer a program computes."""
    from evolvent.synthesis import program_tasks

    how = program_tasks.ProgramTasks(seed=derive(ask.seed, "program", ask.turn) % 2**31, policy=ask.policy)
    found = program_tasks.write_program_tasks(ask.world, how)
    return found.tasks, found.funnel.counts


KINDS: dict[str, Writer] = {"structure": write_structure, "graph": write_graph, "program": write_program}


def write_tasks(
    folder: Path, source: Path, *, kind: str, num: int, seed: int, tell: Tell, policy: Any = None
) -> Corpus:
    """`num` tasks about the worlds of a corpus, each world in turn; the worlds are copied beside them."""
    homes = worlds_in(source)
    settings = {"of": "tasks", "kind": kind, "num": num, "seed": seed, "worlds": digest_of(source / WORLDS),
                "policy": getattr(policy, "name", None), "max_alike": QUESTIONS_ALIKE}  # fmt: skip
    with open_corpus(folder, settings) as corpus:
        _copy(homes, corpus.folder / WORLDS)
        author = policy and Archived(policy, corpus.folder / ANSWERS)
        tasks = _kept(corpus)
        seen: dict[str, Seen] = {}
        for task in tasks:
            _seen(seen, task).add(task.task_id, task.question)

        def make(number: int) -> Piece:
            home = corpus.folder / WORLDS / homes[number % len(homes)].name
            ask = Ask(read_world(home), reference_to(home), seed, number // len(homes), author)
            written, counts = KINDS[kind](ask)
            fresh = [task for task in written if not _seen(seen, task).add(task.task_id, task.question)]
            split = "test" if number % len(homes) % HELD_OUT == HELD_OUT - 1 else "train"
            fresh = [dataclasses.replace(task, split=split) for task in fresh[: num - corpus.num_kept]]
            for task in fresh:
                append_line(corpus.folder / TASKS, task_line(relative(task, home.name)))
            tasks.extend(fresh)
            counts = {**counts, "tasks written": len(written), "tasks kept": len(fresh)}
            why = "" if fresh else "questions that were asked before" if written else "no task"
            return Piece(number, tuple(task.task_id for task in fresh), counts, why)

        corpus.fill(num, make, tell)
        worlds = [read_world(corpus.folder / WORLDS / home.name) for home in homes]
        counts = {"tasks": len(tasks)} | {f"{name} about": value for name, value in count_worlds(worlds).items()}
        finish(corpus, "tasks", _placed(tasks, arrange(worlds)) if tasks else None, counts)
    return corpus


def write_folders(folder: Path, *, num: int, seed: int, tell: Tell, families: Sequence[str] = ()) -> Corpus:
    """`num` task folders of terminal templates, the templates in turn, each proven before it is written."""
    from evolvent.synthesis.terminal.corpus import ASKED
    from evolvent.synthesis.terminal.proof import prove
    from evolvent.synthesis.terminal_tasks import FAMILIES, LEVELS
    from evolvent.synthesis.terminal_tasks import make as make_folder

    names = tuple(families or FAMILIES)
    settings = {"of": "task folders", "kind": "terminal", "seed": seed, "families": list(names)}
    with open_corpus(folder, settings) as corpus:
        home, seen = corpus.folder / FOLDERS, Seen(QUESTIONS_ALIKE)
        home.mkdir(exist_ok=True)
        sweep(home)

        def ask(number: int) -> Any:
            turn = number // len(names)
            return make_folder(names[number % len(names)], LEVELS[turn % len(LEVELS)], turn // len(LEVELS), seed=seed)

        for piece in corpus.pieces:
            for name in piece.kept:
                seen.add(name, _told(ask(piece.number)))

        def make(number: int) -> Piece:
            made = ask(number)
            alike = seen.add(made.where, _told(made))
            if alike:
                return Piece(number, (), {"task folders begun": 1}, alike)
            (proof,) = prove([made], best(), ASKED)
            _write_checks(corpus.folder / CHECKS / f"{made.where}.jsonl", proof.rows)
            if proof.failed:
                counts = {"task folders begun": 1, f"task folders that failed: {proof.failed}": 1}
                return Piece(number, (), counts, f"its proof failed: {proof.failed}")
            write_folder(home / made.where, functools.partial(_write_into, made))
            return Piece(number, (made.where,), {"task folders begun": 1, "task folders kept": 1})

        corpus.fill(num, make, tell)
        kept = [
            (names[p.number % len(names)], p.number // len(names) % len(LEVELS), n)
            for p in corpus.pieces
            for n in p.kept
        ]
        finish(corpus, "task folders", _by_template(kept, LEVELS), {"task folders": len(kept), "templates": len(names)})
    return corpus


# ------------------------------------------------------------ helpers of both


def _copy(homes: Sequence[Path], to: Path) -> None:
    """The worlds as they are, byte for byte; those that are there already stay."""
    to.mkdir(exist_ok=True)
    sweep(to)
    for home in homes:
        if not (to / home.name).exists():
            read_world(home)  # it is whole
            write_folder(to / home.name, functools.partial(_copy_into, home))


def _copy_into(home: Path, place: Path) -> None:
    shutil.copytree(home, place, dirs_exist_ok=True)


def _kept(corpus: Corpus) -> list[Task]:
    """The tasks that the ledger knows of; what a killed process wrote behind them is cut off."""
    path = corpus.folder / TASKS
    lines, torn = whole_lines(path)
    if len(lines) < corpus.num_kept:
        raise BadInput(
            "tasks are missing that the ledger knows of", where=str(path), got=len(lines), wanted=corpus.num_kept,
            cure="restore it from a copy, or begin anew in another folder",
        )  # fmt: skip
    if torn or len(lines) > corpus.num_kept:
        lines = lines[: corpus.num_kept]
        write_text(path, "".join(line + "\n" for line in lines))
    from evolvent.codec import from_json

    return [rooted(from_json(line), corpus.folder) for line in lines]


def _seen(seen: dict[str, Seen], task: Task) -> Seen:
    """The questions that were asked about the same world."""
    place = task.problem.removeprefix(task.question)
    return seen.setdefault(place, Seen(QUESTIONS_ALIKE))


def _placed(tasks: Sequence[Task], worlds: Taxonomy) -> Taxonomy:
    """Tasks where their worlds are."""
    of_world: dict[str, list[str]] = {}
    for task in tasks:
        of_world.setdefault(task.origin.parents[-1], []).append(task.task_id)
    classes = []
    for one in worlds.classes:
        centres = [
            dataclasses.replace(c, worlds=tuple(t for w in c.worlds for t in of_world.get(w, ()))) for c in one.centres
        ]
        if filled := tuple(c for c in centres if c.worlds):
            classes.append(WorldClass(one.name, filled))
    return Taxonomy(tuple(classes))


def _by_template(kept: Sequence[tuple[str, int, str]], levels: Sequence[int]) -> Taxonomy:
    classes = []
    for family in sorted({family for family, _, _ in kept}):
        centres = [
            Centre(f"level {level}", tuple(n for f, at, n in kept if (f, at) == (family, place)))
            for place, level in enumerate(levels)
        ]
        classes.append(WorldClass(family, tuple(c for c in centres if c.worlds)))
    return Taxonomy(tuple(classes))


def _told(folder: Any) -> str:
    """What makes a task folder itself: the instruction and the files that it is about."""
    files = (data.decode("utf-8", "replace") for path, data in sorted(folder.files.items()) if "files/" in path)
    return "\n".join([folder.instruction, *files])


def _write_checks(path: Path, rows: Sequence[Any]) -> None:
    """Every run of a proof but how long it took, which no second run repeats."""
    told = [{key: value for key, value in dataclasses.asdict(row).items() if key != "seconds"} for row in rows]
    path.parent.mkdir(exist_ok=True)
    write_text(path, "".join(json.dumps(one) + "\n" for one in told))


def _write_into(made: Any, place: Path) -> None:
    from evolvent.tasks.formats.harbor import write_task

    write_task(place, made)
