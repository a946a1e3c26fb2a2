import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.parse import urldefrag

import pytest

from evolvent.cli.main import read_command
from evolvent.cli.run import asked_plan
from evolvent.tasks import source

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SMALL = [
    "cold_start.num_steps=2",
    "cold_start.tasks_per_step=4",
    "num_steps=2",
    "tasks_per_step=4",
    "group_size=2",
    "num_threads=1",
    "suite.num_tasks=8",
    "suite.num_tasks_above=4",
    "suite.num_tasks_during=4",
    "suite.num_levels=2",
]
# paths of somebody's machine, and places to install from that only some machines have
FORBIDDEN = re.compile(r"(?<![\w.])/(home|root|Users|work)/\w|index-url|find-links|[\w.-]+/simple\b|artifactory|/opt/")
SKIPPED = {
    ".venv",
    ".venv-peers",
    ".git",
    "runs",
    "__pycache__",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
}


def name_of(path):
    return str(path.relative_to(ROOT))


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def commands():
    """Every `evolvent ...` line of a bash block, with the page that shows it."""
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):  # a variable for one command
                    words = words[1:]
                if words[:1] == ["evolvent"]:
                    yield pytest.param(page, words[1:], id=f"{page.stem}: {line}")


def files_of(page, folder):
    """The files that a page tells its reader to write."""
    for code in blocks(page, "python"):
        if found := re.match(r"# (\w+\.py)\n", code):
            (folder / found[1]).write_text(code, "utf-8")


def heading_anchors(path):
    heads = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        file, anchor = urldefrag(target)
        if "://" in target:
            continue
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{target} leads nowhere"
        assert not anchor or anchor in heading_anchors(path), f"{target}: no such heading"


def test_generated_parts_and_outputs_of_code_are_current():
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr[-2000:]}\n  cure: make docs"


@pytest.mark.parametrize(("page", "words"), list(commands()))
def test_every_command_that_is_shown_is_understood(page, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    files_of(page, tmp_path)
    command = read_command(words)
    if command is not None and command.verb == "run" and not command.resume:
        (tmp_path / "examples").symlink_to(ROOT / "examples")
        asked_plan(command)
    for code in tmp_path.glob("*.py"):
        sys.modules.pop(code.stem, None)


def test_the_reward_of_the_readme_trains(tmp_path):
    files_of(ROOT / "README.md", tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from evolvent.cli import main; sys.exit(main())", "run", *SMALL,
         "reward=brief:brief", "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    [line] = done.stdout.splitlines()
    assert Path(json.loads(line)["run"]).parent == tmp_path / "runs"


def test_the_tools_of_the_readme_are_tools(tmp_path, monkeypatch):
    files_of(ROOT / "README.md", tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    import shop  # written by the line above

    task = source("chain").task("chain", 1, 0)
    assert [tool.name for tool in shop.toolbox.open(task, 0).tools("agent")] == ["calc", "price"]
    assert shop.price("pear") == 4
    sys.modules.pop("shop")


def test_no_file_tells_of_one_machine():
    told = []
    for path in sorted(ROOT.rglob("*")):
        if SKIPPED & set(path.relative_to(ROOT).parts) or not path.is_file() or path == Path(__file__):
            continue
        if path.suffix in (".md", ".py", ".toml", ".json", ".svg", ".j2", "") and "tests" not in path.parts:
            for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
                if FORBIDDEN.search(line):
                    told.append(f"{name_of(path)}:{number}: {line.strip()[:100]}")
    assert not told, "\n".join(told)
