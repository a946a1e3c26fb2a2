import json
import subprocess
import sys
from pathlib import Path

import pytest

import evolvent

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "transformers", "duckdb", "sympy", "fastapi", "rich", "numpy", "httpx", "jinja2", "math_verify")


def modules_after(code, *arguments):
    ask = (
        f"{code}\nimport json, sys\nprint(json.dumps(sorted(m for m in sys.modules if '.' not in m)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", ask, *arguments], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_the_public_list_is_short_and_sorted():
    assert len(evolvent.__all__) <= 40
    assert evolvent.__all__ == sorted(set(evolvent.__all__))


@pytest.mark.parametrize("name", evolvent.__all__)
def test_every_public_name_is_there_when_asked_for(name):
    assert getattr(evolvent, name) is not None


def test_an_unknown_name_is_an_ordinary_error():
    with pytest.raises(AttributeError, match="no attribute 'trane'"):
        evolvent.trane  # noqa: B018


def test_every_public_name_is_in_the_docs():
    text = "\n".join(p.read_text("utf-8") for p in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])
    words = set("".join(c if c.isalnum() or c == "_" else " " for c in text).split())
    assert not [n for n in evolvent.__all__ if n not in words]


def test_importing_evolvent_brings_nothing_heavy():
    assert not modules_after("import evolvent; assert set(evolvent.__all__) <= set(dir(evolvent))") & set(HEAVY)


def test_help_brings_nothing_heavy():
    code = "from evolvent.cli import main; import sys; assert main(['--help']) == 0"
    assert not modules_after(code) & set(HEAVY)


def test_names_for_evaluation_do_not_bring_torch():
    code = "import evolvent as e; e.Task, e.Endpoint, e.Toolbox, e.by_task, e.play, e.measure, e.source, e.Run, e.Score"
    assert not modules_after(code) & {"torch", "transformers"}
