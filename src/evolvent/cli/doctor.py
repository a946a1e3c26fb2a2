"""`evolvent doctor`: what is installed, what really works, and the line that gets the rest."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from evolvent import __version__
from evolvent.cli.main import Command, refuse_fields
from evolvent.cli.screen import Screen
from evolvent.errors import BadInput, EvolventError

Part = dict[str, Any]

BASE = ("episodes", "interpreter", "math", "disk")
"""Parts that the base package promises; the rest are extras, and their absence is no illness."""

PACKAGES = {
    "transformers": ("transformers", "train"),
    "reasoning": ("reasoning-gym", "reasoning"),
    "tensorboard": ("tensorboard", "track"),
    "trackio": ("trackio", "trackio"),
    "wandb": ("wandb", "wandb"),
}
MIN_FREE_GB = 1.0
WALLS = {
    "bubblewrap": "namespaces of its own, with a filter of system calls",
    "landlock": "its own folder, with a filter of system calls; sees names of files and numbers of processes outside",
    "monty": "an interpreter of a part of Python, without files or commands",
    "container": "a container for each call",
}


def main(command: Command) -> dict[str, Any]:
    """Look at every part; the answer is ok where all parts of the base package work."""
    refuse_fields(command, ("url",))
    if command.words:
        raise BadInput(
            "doctor takes no words",
            where="evolvent doctor",
            got=" ".join(command.words),
            cure="url=http://... checks an endpoint",
        )
    parts: dict[str, Part] = {
        "train": examine(_train),
        **{name: examine(partial(_installed, *wanted)) for name, wanted in PACKAGES.items()},
        "episodes": examine(_episodes),
        "interpreter": examine(_interpreter),
        "math": examine(_math),
        "disk": examine(_disk),
        "gpu": examine(_gpu),
    }
    needed = list(BASE)
    if "url" in command.fields:
        parts["endpoint"] = examine(lambda: _endpoint(command.fields["url"]))
        needed.append("endpoint")
    ok = all(parts[name]["ok"] for name in needed)
    sandboxes = _sandboxes()
    sandbox = next((name for name, part in sandboxes.items() if part["ok"]), "none")
    answer = {
        "version": __version__, "python": platform.python_version(), "ok": ok, **parts, "sandbox": sandbox,
        "sandboxes": sandboxes,
    }  # fmt: skip
    _print(Screen(as_json=command.json), answer, {**parts, **sandboxes})
    return answer if ok else {**answer, "exit": 1}


def examine(look: Callable[[], Part]) -> Part:
    """What a look found; a look that breaks is what was found."""
    try:
        return look()
    except EvolventError as error:
        return {"ok": False, "what": error.what, "cure": error.cure}
    except Exception as error:  # whatever a broken installation raises is the finding
        return {
            "ok": False,
            "what": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            "cure": "",
        }


def _found(what: str) -> Part:
    return {"ok": True, "what": what, "cure": ""}


def _absent(what: str, extra: str) -> Part:
    return {"ok": False, "what": what, "cure": f'pip install "evolvent[{extra}]"'}


# ---------------------------------------------------------------- the parts


def _train() -> Part:
    """Torch multiplies two matrices."""
    try:
        import torch
    except ImportError:
        return _absent("torch is not installed: no training, no local checkpoints", "train")
    right = bool((torch.ones(2, 2) @ torch.ones(2, 2) == 2).all())
    return {**_found(f"torch {torch.__version__}, {torch.get_num_threads()} threads"), "ok": right}


def _installed(package: str, extra: str) -> Part:
    try:
        return _found(f"{package} {metadata.version(package)}")
    except metadata.PackageNotFoundError:
        return _absent(f"{package} is not installed", extra)


def _episodes() -> Part:
    """Parquet through DuckDB, written and read back."""
    import duckdb

    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as database:
        path = str(Path(folder) / "one.parquet")
        database.execute(f"COPY (SELECT 42 AS answer) TO '{path}' (FORMAT parquet)")
        [(answer,)] = database.execute("SELECT answer FROM read_parquet(?)", [path]).fetchall()
    return {**_found(f"Parquet by DuckDB {duckdb.__version__}, written and read back"), "ok": answer == 42}


def _interpreter() -> Part:
    """The Python tool runs a script."""
    from evolvent.envs.interpreter import Interpreter, execute

    ran = execute("1+1", Interpreter())
    what = (
        f"pydantic-monty {metadata.version('pydantic-monty')} runs 1+1" if ran.value == "2" else f"1+1 gives {ran.text}"
    )
    return {**_found(what), "ok": ran.value == "2"}


def _sandboxes() -> dict[str, Part]:
    """Every way to isolate code, best first: each was really tried."""
    from evolvent.envs.sandbox.choose import probe_all

    return {name: _tier(name, why) for name, why in probe_all().items()}


def _tier(name: str, why: str) -> Part:
    """A probe's answer: nothing, or why not and the cure."""
    if not why:
        return _found(f"runs code in {WALLS[name]}")
    what, _, cure = why.partition("; " if "; " in why else ": ")
    return {"ok": False, "what": what, "cure": cure}


def _math() -> Part:
    """Mathematical equivalence, judged by the worker that judges in runs."""
    from evolvent.records import Origin, Private, Reference, Task, said
    from evolvent.rewards import equivalent

    judge = Reference("evolvent.rewards:equivalent")
    task = Task("doctor", "doctor", 1, (said("user", "?"),), Private("1/2"), judge, Origin("doctor"))
    right, wrong = equivalent(task, "0.5").value, equivalent(task, "0.6").value
    is_fit = (right, wrong) == (1.0, 0.0)
    version = metadata.version("math-verify")
    return {
        **_found(f"math-verify {version} " + ("knows that 0.5 is 1/2" if is_fit else "misjudges 0.5 = 1/2")),
        "ok": is_fit,
    }


def _disk() -> Part:
    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    with tempfile.TemporaryFile(dir=Path.cwd()) as file:
        file.write(b"0")
    cure = "" if free_gb >= MIN_FREE_GB else "free some space, or send runs elsewhere with out=FOLDER"
    return {"ok": free_gb >= MIN_FREE_GB, "what": f"{free_gb:.1f} GB free in {Path.cwd()}", "cure": cure}


def _gpu() -> Part:
    try:
        import torch
    except ImportError:
        return _absent("unknown without torch", "train")
    if not torch.cuda.is_available():
        return {"ok": False, "what": "none seen by torch; the CPU is used", "cure": ""}
    return _found(f"{torch.cuda.get_device_name(0)}, {torch.cuda.device_count()} in all")


def _endpoint(url: str) -> Part:
    from evolvent.policies.build import endpoint_at

    found = endpoint_at(url, "endpoint").check()
    if found["ok"]:
        ids = "gives token ids" if found["gives_token_ids"] else "gives no token ids: fine to measure, not to train"
        return _found(f"{found['what']} answers, {ids}")
    return {"ok": False, "what": f"{found['what']}: {found['got']}", "cure": found["cure"]}


def _print(screen: Screen, answer: dict[str, Any], parts: dict[str, Part]) -> None:
    screen.say(f"[bold]evolvent {answer['version']}[/bold], Python {answer['python']}, sandbox {answer['sandbox']}")
    for name, part in parts.items():
        state = "ok" if part["ok"] else "broken" if name in (*BASE, "endpoint") else "missing"
        style = {"ok": "green", "broken": "red", "missing": "yellow"}[state]
        screen.console.print(f"[{style}]{state:<9}[/{style}]{name:<13}", end="")
        screen.console.print(part["what"], markup=False)
        if part["cure"] and not part["ok"]:
            screen.console.print(f"{'':<22}{part['cure']}", markup=False, style="dim")
    if answer["sandbox"] == "none":
        screen.say("no sandbox works here: code that nobody trusts is refused, and never run without one")
    screen.say("everything that the base package promises works" if answer["ok"] else "something is broken, see above")
