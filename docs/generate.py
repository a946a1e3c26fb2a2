"""Fills the generated parts of README.md and docs/ from the code, and says with --check whether they are current.

`python docs/generate.py` writes, `--check` compares, `--take RUN ...` copies the summaries of finished runs to
docs/run.json, from which the numbers in the README come.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import inspect
import io
import json
import os
import pkgutil
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

# several threads wait for each other where other programs run; the blocks are small
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "src" / "evolvent"
NUMBERS = ROOT / "docs" / "run.json"
BOARD = ROOT / "docs" / "effects.json"
PATHS = ("run", "checkpoint", "control", "report")  # of one machine, so they stay there
BLOCK = re.compile(r"(```python\n(.*?)```\n)(```text\n.*?```\n)?", re.DOTALL)
PART = re.compile(r"(<!-- (\w+):begin -->\n).*?(<!-- \2:end -->)", re.DOTALL)


def main() -> int:
    """Write or compare; 1 where something is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--take", nargs="+", metavar="RUN", type=Path)
    asked = parser.parse_args()
    if asked.take:
        take(asked.take)
    made = generate()
    stale = [path for path, text in made.items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        print(f"{'out of date' if asked.check else 'written'}: {path.relative_to(ROOT)}")
        if not asked.check:
            path.write_text(made[path], "utf-8")
    if asked.check and stale:
        print("  cure: make docs")
    return int(asked.check and bool(stale))


def generate() -> dict[Path, str]:
    """Every file with a generated part, and the text that it should have."""
    made = {ROOT / "docs" / "recipes.md": recipe_pages(), ROOT / "docs" / "effects.html": effects_page()}
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        if path not in made:
            text = PART.sub(lambda found: found[1] + PARTS[found[2]]() + found[3], path.read_text("utf-8"))
            made[path] = executed(text)
    return made


# ---------------------------------------------------------------- code that runs


def executed(text: str) -> str:
    """The text with the output of each python block in the text block behind it; the blocks share their names.

    A block that begins with a comment `# name.py` becomes that file, and is imported.
    """
    names: dict[str, Any] = {"__name__": "docs"}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), importable(folder):
        return BLOCK.sub(lambda found: found[1] + shown_output(found[2], found[3], names), text)


def shown_output(code: str, behind: str | None, names: dict[str, Any]) -> str:
    """What follows a block: its output where a text block stands there, and nothing otherwise."""
    file = re.match(r"# (\w+)\.py\n", code)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if file:
            Path(f"{file[1]}.py").write_text(code, "utf-8")
            importlib.invalidate_caches()
            importlib.import_module(file[1])
        else:
            exec(compile(code, "docs", "exec"), names)
    return "" if behind is None else f"```text\n{printed.getvalue()}```\n"


@contextlib.contextmanager
def importable(folder: str) -> Iterator[None]:
    """Modules of this folder can be imported, and are forgotten afterwards."""
    known = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - known:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(folder):
                del sys.modules[name]


# ---------------------------------------------------------------- the tree


def tree() -> str:
    """The stages in the order of the data's way, and every file in a fold."""
    order = spine()
    stages = [p for p in (HOME / name for name in order) if p.is_dir()] + list(HOME.glob("*.py"))
    stages = sorted(stages, key=lambda p: order.index(p.stem) if p.stem in order else -1)
    short = "\n".join(line(p, 0) for p in stages)
    whole = "\n".join(row for stage in stages for row in branch(stage, 0))
    fold = f"<details><summary>Every file</summary>\n\n```text\n{whole}\n```\n\n</details>"
    return f"```text\n{short}\n```\n\n{fold}\n"


def branch(path: Path, depth: int) -> list[str]:
    """A file's line, or a folder's with those of its files."""
    rows = [line(path, depth)]
    if path.is_dir():
        inside = [p for p in sorted(path.iterdir()) if p.suffix == ".py" or (p / "__init__.py").exists()]
        rows += [row for p in inside if p.name != "__init__.py" for row in branch(p, depth + 1)]
    return rows


def line(path: Path, depth: int) -> str:
    """A name and the first sentence of its docstring."""
    source = path / "__init__.py" if path.is_dir() else path
    words = (ast.get_docstring(ast.parse(source.read_text("utf-8"))) or "").split("\n\n")[0].replace("\n", " ")
    name = "  " * depth + path.name + ("/" if path.is_dir() else "")
    return f"{name:<24} {words}".rstrip()


def spine() -> list[str]:
    """The order of the stages, as the test of the spine has it."""
    parsed = ast.parse((ROOT / "tests" / "test_spine.py").read_text("utf-8"))
    value = next(n.value for n in parsed.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "SPINE")
    return list(ast.literal_eval(value))


# ---------------------------------------------------------------- recipes, families, verbs


def recipes() -> dict[str, Any]:
    """Every recipe module by name."""
    import evolvent.recipes as home

    names = sorted(m.name for m in pkgutil.iter_modules(home.__path__) if not m.name.startswith("_"))
    return {name: importlib.import_module(f"evolvent.recipes.{name}") for name in names}


def recipe_table() -> str:
    """A row per recipe: what it is, and what its main claim came to."""
    board = measured()
    rows = ["| recipe | method | measured against its control, 95 % | verdict |", "|---|---|---|---|"]
    for name, module in recipes().items():
        card, first = module.CARD, board[name]["contrasts"][0] if name in board else None
        found = f"{first['claim']}: {first['metric']} {gap_of(first)}" if first else "-"
        told = verdict_of(board[name]) if first else card.verdict
        rows.append(f"| [`{name}`](docs/recipes.md#{name}) | {card.title} | {bare(found)} | {told} |")
    return "\n".join(rows) + "\n"


def recipe_pages() -> str:
    """docs/recipes.md."""
    board = measured()
    parts = [
        "# Recipes\n\nOne published method each; `evolvent run NAME` runs it, `evolvent effect NAME` measures what it "
        "claims against its control.\nA verdict is strict: `shown` where every claim holds, on the interval over all "
        "seeds and on each seed; `unstable` where\nonly some seeds show what fails. Generated from the cards in the "
        "code and from [effects.json](effects.json), which\n[effects.html](effects.html) draws.\n",
        board_table(board),
    ]
    for name, module in recipes().items():
        card = module.CARD
        parts.append(
            f"## {name}\n\n**{card.title}.** {module.__doc__.strip()}\n\n"
            f"* Paper: {card.paper}\n* Stages that it changes: {', '.join(card.changes)}\n* Claim: {card.claim}.\n"
            + f"* Verdict: {card.verdict or 'not measured'}\n"
            + (f"* Note: {card.note}\n" if card.note else "")
            + (f"\n{effect_table(board[name])}" if name in board else "")
            + f"\n```bash\nevolvent run {name}\n"
            + (f"evolvent effect {name}\n" if hasattr(module, "effect") else "")
            + "```\n"
        )
    return "\n".join([*parts, *beside_recipes(board)])


def beside_recipes(board: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A section for each experiment of the board that is no recipe's own: the function that measures it says what."""
    parts = []
    for name, entry in board.items():
        if name not in recipes():
            module, _, function = entry["measures"].partition(":")
            told = inspect.getdoc(getattr(importlib.import_module(module), function)) or ""
            shown = f"```bash\nevolvent effect {entry['measures']}\n```\n"
            parts.append(f"## {name}\n\n{told}\n\n* Verdict: {entry['verdict']}\n\n{effect_table(entry)}\n{shown}")
    return parts


# ---------------------------------------------------------------- effects


def measured() -> dict[str, dict[str, Any]]:
    """The board of effects by recipe, as `evolvent effect ... out=docs` wrote it."""
    from evolvent.effects.results import read_board

    return read_board(BOARD)


def effects_page() -> str:
    """docs/effects.html."""
    from evolvent.effects.page import board_page

    return board_page(measured(), {name: module.CARD.title for name, module in recipes().items()})


def board_table(board: Mapping[str, Mapping[str, Any]]) -> str:
    """A row per measured recipe: its first claim and the verdict on all."""
    rows = [
        "| recipe | verdict | metric | treated | control | difference, 95 % | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, entry in board.items():
        first = entry["contrasts"][0]
        rows.append(
            f"| [`{name}`](#{name}) | {verdict_of(entry)} | {bare(first['metric'])} | {first['treated']:.3g} | "
            f"{first['control']:.3g} | {gap_of(first)} | {entry['seconds']:.0f} |"
        )
    return "\n".join(rows) + "\n" if board else "No effect has been measured yet.\n"


def effect_table(entry: Mapping[str, Any]) -> str:
    """A row per claim of a measured recipe, and what it cost."""
    rows = [
        "| claim | metric | treated | control | difference, 95 % | per seed | holds |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in entry["contrasts"]:
        within = f" within {one['tolerance']:g}" if one["tolerance"] is not None else ""
        seeds = ", ".join(f"{d:+.3g}" for d in one["per_seed"])
        rows.append(
            f"| {bare(one['claim'])} | {bare(one['metric'])} | {one['treated']:.3g} | {one['control']:.3g} "
            f"| {gap_of(one)} | {seeds} | {one['kind']}{within}: {'yes' if one['ok'] else 'no'} |"
        )
    notes = "".join(f" Budgets: {note}." for note in dict.fromkeys(c["note"] for c in entry["contrasts"]) if note)
    return "\n".join(rows) + (
        f"\n\nSeeds {', '.join(map(str, entry['seeds']))}; {entry['tokens']:,} tokens and {entry['updates']:,} updates "
        f"an arm; {entry['seconds']:.0f} s on two cores.{notes}\n"
    )


def verdict_of(entry: Mapping[str, Any]) -> str:
    """The verdict, and how many of the claims hold where not all do."""
    held, num = sum(one["ok"] for one in entry["contrasts"]), len(entry["contrasts"])
    return str(entry["verdict"]) + (f", {held} of {num} claims hold" if held < num else "")


def bare(text: str) -> str:
    """Words as they may stand in a table."""
    return text.replace("|", r"\|").replace("\n", " ")


def gap_of(one: Mapping[str, Any]) -> str:
    """A difference with its interval."""
    return f"{one['difference']:+.3g} [{one['low']:+.3g}, {one['high']:+.3g}]"


def family_table() -> str:
    """A row per family of tasks, with a question of its first and last level."""
    from evolvent.tasks import Procedural
    from evolvent.tasks.procedural import family_names

    rows = ["| family | levels | a question of the first | and of the last |", "|---|---|---|---|"]
    for name in family_names():
        source = Procedural((name,))
        levels = source.levels(name)
        first, last = (cell(source.task(name, level, 0).question) for level in (levels[0], levels[-1]))
        rows.append(f"| `{name}` | {levels[0]} to {levels[-1]} | {first} | {last} |")
    return "\n".join(rows) + "\n"


def verb_table() -> str:
    """A row per verb of the command line."""
    from evolvent.cli.main import VERBS

    rows = ["| command | does |", "|---|---|"]
    for verb, (what, usage) in VERBS.items():
        words = f"evolvent {verb} {usage}".strip().replace("|", r"\|")
        rows.append(f"| `{words}` | {what} |")
    return "\n".join(rows) + "\n"


def cell(text: str) -> str:
    """A question as it may stand in a table, cut where it is long."""
    text = bare(text)
    return f"`{text if len(text) <= 60 else text[:57] + '...'}`"


# ---------------------------------------------------------------- messages


def failures() -> str:
    """What a person sees after common mistakes: the messages themselves, provoked here."""
    shown = []
    with tempfile.TemporaryDirectory() as folder:
        for command, provoke in MISTAKES.items():
            try:
                provoke(Path(folder))
            except Exception as error:
                words = str(error).replace(folder + "/", "")
                shown.append(f"$ {command}\nerror: {words}\n")
            else:
                raise AssertionError(f"{command} was expected to fail")
    return "```text\n" + "\n".join(shown) + "```\n"


def plan_with(**fields: str) -> Callable[[Path], Any]:
    """Reads the main plan with these overrides."""

    def read(_: Path) -> Any:
        from evolvent.cli.values import override, read_plan
        from evolvent.plans import check

        return check(override(read_plan(()), fields))

    return read


def unknown_recipe(_: Path) -> None:
    """Ask for a recipe that is not there."""
    from evolvent.cli.values import read_plan

    read_plan(("circel",))


def unknown_source(_: Path) -> None:
    """Ask for a family that is not there."""
    from evolvent.tasks import source

    source("chian")


def row_without_answer(folder: Path) -> None:
    """Load a data set with a row that cannot be judged."""
    from evolvent.tasks import source

    path = folder / "questions.jsonl"
    path.write_text('{"prompt": "2+2?", "answer": "4"}\n{"prompt": "2+3?"}\n')
    source(str(path)).task("questions", 0, 0)


def not_a_run(folder: Path) -> None:
    """Resume a folder that is no run."""
    from evolvent.store import Run

    (folder / "runs").mkdir()
    Run.reopen(folder / "runs")


def no_template(_: Path) -> None:
    """Load a base model, which cannot hold a conversation."""
    from types import SimpleNamespace

    from evolvent.models.render import Renderer

    Renderer(SimpleNamespace(chat_template=None, name_or_path="base-model"))


MISTAKES: Mapping[str, Callable[[Path], Any]] = {
    "evolvent run circel": unknown_recipe,
    "evolvent run groupsize=4": plan_with(groupsize="4"),
    "evolvent run group_size=1": plan_with(group_size="1"),
    "evolvent run source=chian": unknown_source,
    "evolvent run source=questions.jsonl": row_without_answer,
    "evolvent run model=./base-model": no_template,
    "evolvent run --resume runs": not_a_run,
}


# ---------------------------------------------------------------- numbers


def take(runs: list[Path]) -> None:
    """Copy the summaries of finished runs, without the paths of this machine."""
    found = [json.loads((run / "summary.json").read_text("utf-8")) for run in runs]
    for run, summary in zip(runs, found, strict=True):
        plan = json.loads((run / "plan.json").read_text("utf-8"))
        summary["reward"] = str((plan.get("reward") or {}).get("is", "")).rpartition(":")[2]
        for key in PATHS:
            summary.pop(key, None)
        summary["verdict"] = re.sub(r"\S*/\S*/\S*", "", str(summary.get("verdict") or ""))
    NUMBERS.write_text(json.dumps({"runs": found}, indent=1) + "\n", "utf-8")


def numbers() -> str:
    """What real runs came to, from docs/run.json."""
    if not NUMBERS.exists():
        return "No run has been written down yet.\n"
    kept = json.loads(NUMBERS.read_text("utf-8"))
    runs = kept.get("runs", [kept])
    rows = [
        "| command | before | after | difference, 95 % | tool use | greedy | levels reached | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows += [number_row(run) for run in runs]
    return "\n".join(rows) + "\n\n" + skill_table(runs) + level_table(runs[0])


def skill_table(runs: list[Mapping[str, Any]]) -> str:
    """How much of a gain other means would bring: forcing the call, the best of several, and imitation."""
    told = [run for run in runs if (run.get("skill") or {}).get("value") is not None]
    compared = [run for run in told if run["reward"] != "Shuffled"]
    if not compared:
        return ""
    rows = [
        "How much of it other means would bring, on the same tasks:",
        "",
        "| seed | before | call forced | best of 8 | after | given tool use, minus imitation, on levels never shown |",
        "|---|---|---|---|---|---|",
    ]
    for run in compared:
        before, skill = run["before"], run["skill"]
        cells = (before["sampled"], before["tool_forced"], before["best_of_k"], run["after"]["sampled"])
        gap = f"{skill['value']:+.2f} [{skill['low']:+.2f}, {skill['high']:+.2f}]"
        rows.append(f"| {run['seed']} | " + " | ".join(map(share, cells)) + f" | {gap} |")
    return "\n".join(rows) + "\n\n"


def number_row(run: Mapping[str, Any]) -> str:
    """One run."""
    before, after, gain = run["before"], run["after"], run.get("difference") or {}
    command = f"evolvent run{'' if run['recipe'] == 'circle' else ' ' + run['recipe']} --seed {run['seed']}"
    if run.get("reward") == "Shuffled":
        command += " reward=shuffled"
    reached = ", ".join(str(row["level"]) for row in run.get("levels", ()) if row["reached"]) or "none"
    interval = f"{gain['value']:+.2f} [{gain['low']:+.2f}, {gain['high']:+.2f}]" if gain else "-"
    pairs = (f"{share(before[k])} to {share(after[k])}" for k in ("tool_use", "greedy"))
    shown = (
        f"`{command}`",
        share(before["sampled"]),
        share(after["sampled"]),
        interval,
        *pairs,
        reached,
        f"{run['seconds']:.0f}",
    )
    return "| " + " | ".join(shown) + " |"


def level_table(run: Mapping[str, Any]) -> str:
    """The levels of one run."""
    rows = [
        f'Seed {run["seed"]}, level by level; "never" means that the cold start did not show it:',
        "",
        "| level | cold start | before | after | gain, 95 % | reached |",
        "|---|---|---|---|---|---|",
    ]
    for row in run.get("levels", ()):
        cold, reached = "shown" if row["in_cold_start"] else "never", "yes" if row["reached"] else "-"
        interval = f"[{row['low']:+.2f}, {row['high']:+.2f}]"
        shown = (f"{row['family']} {row['level']}", cold, share(row["before"]), share(row["after"]), interval, reached)
        rows.append("| " + " | ".join(shown) + " |")
    verdict = f"\nThe run's own verdict: *{run['verdict']}*\n" if run.get("verdict") else ""
    return "\n".join(rows) + "\n" + verdict


def share(value: float | None) -> str:
    """A share with two digits."""
    return "-" if value is None else f"{value:.2f}"


PARTS: Mapping[str, Callable[[], str]] = {
    "tree": tree,
    "recipes": recipe_table,
    "families": family_table,
    "verbs": verb_table,
    "failures": failures,
    "numbers": numbers,
}

if __name__ == "__main__":
    sys.exit(main())
