"""`evolvent synth`: a corpus of worlds or of tasks in a folder, with a card; stopped at any time, it goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolvent.cli.main import Command, refuse_fields
from evolvent.cli.screen import Screen
from evolvent.cli.ticks import hearing_ctrl_c, ticking
from evolvent.errors import BadInput, nearest

WHAT = {
    "worlds": ("out", "num", "maker", "level", "model", "themes", "tester", "num_tools", "num_rounds", "max_alike"),
    "tasks": ("out", "num", "from", "kind", "source", "model"),
}
NUM_WORLDS, NUM_TASKS = 64, 256
KINDS = ("structure", "graph", "program")
OF_MODEL = ("themes", "tester", "num_tools", "num_rounds")


@dataclass(frozen=True)
class Asked:
    """Where, how many, and from which seed."""

    out: Path
    num: int
    seed: int


def main(command: Command) -> dict[str, Any]:
    """Write; the answer is what corpus.json holds, without the taxonomy's names of worlds."""
    what = command.words[0] if command.words else ""
    if what not in WHAT or len(command.words) > 1:
        raise BadInput(
            "synth writes worlds or tasks",
            where="evolvent synth",
            got=" ".join(command.words) or "nothing",
            wanted="worlds | tasks",
            cure=nearest(what, list(WHAT)) if what else "evolvent synth worlds out=FOLDER num=64",
        )
    refuse_fields(command, WHAT[what])
    asked = _read_asked(command, NUM_WORLDS if what == "worlds" else NUM_TASKS)
    screen = Screen(as_json=command.json)
    write = _worlds(command.fields, asked) if what == "worlds" else _tasks(command.fields, asked)
    with ticking(screen, asked.num, what) as tick, hearing_ctrl_c() as heard:
        corpus = write(_counter(tick, heard))
    return _told(screen, corpus.folder, asked)


# ------------------------------------------------------------ what is to be written

Tell = Callable[[int, str], None]


def _worlds(fields: Mapping[str, str], asked: Asked) -> Callable[[Tell], Any]:
    from evolvent.envs.manufacture import Manufacturer
    from evolvent.synthesis.corpora import write_worlds
    from evolvent.synthesis.duplicates import WORLDS_ALIKE

    maker = _maker(fields, asked)
    if not isinstance(maker, Manufacturer):
        raise BadInput(
            "this makes no worlds",
            where="maker",
            got=type(maker).__name__,
            wanted="an object with make(number) and describe()",
            cure="maker=parametric, or model=POLICY themes=FILE",
        )
    max_alike = _share(fields.get("max_alike", str(WORLDS_ALIKE)))
    return lambda tell: write_worlds(asked.out, maker, asked.num, tell, max_alike)


def _maker(fields: Mapping[str, str], asked: Asked) -> Any:
    """Who makes worlds: random schemas, a model, or an object of the user's."""
    from evolvent.cli.values import read_value
    from evolvent.envs.manufacture import SIZES, Parametric

    if "model" in fields:
        _refuse_together(fields, "model", ("maker", "level"))
        return _written(fields, asked)
    idle = next((key for key in OF_MODEL if key in fields), None)
    if idle:
        raise BadInput(f"{idle}= belongs to worlds that a model writes", where=f"{idle}={fields[idle]}",
                       cure="model=URL#NAME themes=FILE")  # fmt: skip
    name = fields.get("maker", "parametric")
    if name == "parametric":
        level = _whole("level", fields.get("level", "1"))
        if level not in SIZES:
            raise BadInput("no such level", where="level", got=level, wanted=", ".join(map(str, SIZES)))
        return Parametric(asked.seed, level=level)
    _refuse_together(fields, "maker", ("level",))
    if ":" not in name:
        raise BadInput("no such maker", where="maker", got=name, wanted="parametric, or module:name(args)",
                       cure=nearest(name, ["parametric"]))  # fmt: skip
    found = read_value(name, "maker")
    return found() if isinstance(found, type) else found


def _written(fields: Mapping[str, str], asked: Asked) -> Any:
    from evolvent.envs.manufacture import Written

    if "themes" not in fields:
        raise BadInput(
            "a model needs themes",
            where="evolvent synth worlds",
            got="no themes=",
            wanted="themes=FILE, a theme a line",
        )
    path = Path(fields["themes"]).expanduser()
    if not path.is_file():
        raise BadInput("no such file", where=f"themes={fields['themes']}", wanted="a text file with a theme a line")
    themes = tuple(line.strip() for line in path.read_text("utf-8").splitlines() if line.strip())
    numbers = {key: _whole(key, fields[key]) for key in ("num_tools", "num_rounds") if key in fields}
    return Written(
        _policy(fields["model"], asked.seed),
        themes,
        asked.seed,
        tester=_policy(fields["tester"], asked.seed) if "tester" in fields else None,
        archive=str(asked.out / "answers"),
        **numbers,
    )


def _tasks(fields: Mapping[str, str], asked: Asked) -> Callable[[Tell], Any]:
    from evolvent.synthesis import task_corpora

    if "source" in fields:
        _refuse_together(fields, "source", ("from", "kind", "model"))
        if fields["source"] != "terminal":
            raise BadInput("no such source of task folders", where="source", got=fields["source"], wanted="terminal",
                           cure="tasks about worlds: from=CORPUS kind=graph")  # fmt: skip
        return lambda tell: task_corpora.write_folders(asked.out, num=asked.num, seed=asked.seed, tell=tell)
    if "from" not in fields:
        raise BadInput(
            "tasks are about worlds",
            where="evolvent synth tasks",
            got="no from=",
            wanted="from=CORPUS, a folder that evolvent synth worlds wrote, or source=terminal",
            cure="evolvent synth worlds out=worlds num=64, and then from=worlds",
        )
    kind = fields.get("kind", "structure")
    if kind not in KINDS:
        raise BadInput("no such kind of task", where="kind", got=kind, wanted=", ".join(KINDS),
                       cure=nearest(kind, list(KINDS)))  # fmt: skip
    policy = _policy(fields["model"], asked.seed) if "model" in fields else None
    source = Path(fields["from"]).expanduser().absolute()
    return lambda tell: task_corpora.write_tasks(
        asked.out, source, kind=kind, num=asked.num, seed=asked.seed, tell=tell, policy=policy
    )


def _policy(words: str, seed: int) -> Any:
    from evolvent.cli.values import read_value
    from evolvent.policies.build import build_policy

    is_code = ":" in words and not words.startswith(("http://", "https://"))
    model = read_value(words, "maker") if is_code else words
    return build_policy(model() if isinstance(model, type) else model, name="author", seed=seed)


# ------------------------------------------------------------ words and numbers


def _read_asked(command: Command, num: int) -> Asked:
    if "out" not in command.fields:
        raise BadInput("where to?", where="evolvent synth", got="no out=", wanted="out=FOLDER")
    num = _whole("num", command.fields.get("num", str(num)))
    if num < 1:
        raise BadInput("nothing to write", where="num", got=num, wanted="a whole number from 1 on")
    return Asked(Path(command.fields["out"]).expanduser().absolute(), num, command.seed or 0)


def _whole(key: str, text: str) -> int:
    if not text.isdecimal():
        raise BadInput("not a whole number", where=key, got=text, wanted="for example 8")
    return int(text)


def _share(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 < found <= 1:
        raise BadInput(
            "not a share", where="max_alike", got=text, wanted="above 0, at most 1 (1 drops equal ones only)"
        )
    return found


def _refuse_together(fields: Mapping[str, str], key: str, others: tuple[str, ...]) -> None:
    both = next((other for other in others if other in fields), None)
    if both:
        raise BadInput(
            f"{both}= has no effect beside {key}=", where=f"{both}={fields[both]}", cure=f"leave out {both}="
        )


def _counter(tick: Callable[[], None], heard: Callable[[], None]) -> Tell:
    """Ticks once for each thing that is new, unless Ctrl-C was pressed."""
    done = 0

    def tell(num: int, why: str) -> None:
        nonlocal done
        heard()
        while done < num:
            tick()
            done += 1

    return tell


# ------------------------------------------------------------ what is told


def _told(screen: Screen, folder: Path, asked: Asked) -> dict[str, Any]:
    import json

    from rich.table import Table

    from evolvent.envs.databases.corpus import CORPUS

    data = json.loads((folder / CORPUS).read_text("utf-8"))
    table = Table(box=None, pad_edge=False, padding=(0, 2), show_header=False)
    table.add_column(justify="right")
    table.add_column()
    for part in ("counts", "funnel", "dropped"):
        if data[part]:
            table.add_row(
                "", f"[bold]{ {'counts': 'there is', 'funnel': 'came through', 'dropped': 'came to nothing'}[part] }"
            )
        for name, num in data[part].items():
            table.add_row(f"{num:,}", name)
    screen.console.print(table)
    num = data["counts"][data["of"]]
    if num < asked.num:
        screen.say(f"[bold]{num} of {asked.num}[/bold]: many pieces in a row came to nothing, and no more were begun")
    shown = os.path.relpath(folder)
    shown = shown if not shown.startswith("..") else str(folder)
    follow = f"evolvent synth tasks from={shown} out=FOLDER" if data["of"] == "worlds" else f"evolvent check {shown}"
    screen.say(f"\ncard     {shown}/DATA_CARD.md\npicture  {shown}/taxonomy.svg\nnext     {follow}")
    classes = {name: sum(map(len, centres.values())) for name, centres in data["taxonomy"].items()}
    return {**data, "taxonomy": classes, "folder": str(folder), "exit": int(num == 0)}
