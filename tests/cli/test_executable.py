import json
import subprocess
import sys
import time
from pathlib import Path

EVOLVENT = Path(sys.executable).with_name("evolvent")


def run(*words, **how):
    return subprocess.run([EVOLVENT, *map(str, words)], capture_output=True, text=True, timeout=120, check=False, **how)


def test_help_is_quick():
    start = time.monotonic()
    assert run("--help").returncode == 0
    assert time.monotonic() - start < 3  # a twentieth of a second on a quiet machine


def test_help_imports_nothing_heavy():
    heavy = ("torch", "rich", "duckdb", "numpy", "httpx")
    code = (
        f"import sys; from evolvent.cli import main; main(['--help']); print([m for m in {heavy} if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_stdout_holds_one_line_of_json_and_people_read_stderr(tiny_run):
    found = run("show", tiny_run, "--json")
    assert found.returncode == 0
    assert found.stdout.count("\n") == 1
    assert json.loads(found.stdout)["finished"]
    assert "held-out" in found.stderr


def test_a_reader_that_goes_away_is_no_traceback(tiny_run):
    found = subprocess.run(
        f"'{EVOLVENT}' show '{tiny_run}' | head -1", shell=True, capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in found.stderr


def test_the_cures_of_a_missing_extra_are_said(tmp_path):
    """Torch is hidden from a real process: an endpoint can still be asked for, a recipe says what to install."""
    code = (
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'transformers'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hide())\n"
        "from evolvent.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )

    def light(*words):
        return subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
        )

    for words in (("run",), ("recipes",), ("eval", "nano")):
        found = light(*words)
        assert found.returncode == 1, found.stderr
        assert 'pip install "evolvent[train]"' in found.stderr
    assert light("doctor").returncode == 0
    assert light("init", "mine").returncode == 0
    from evolvent.policies.scripted import Fixed
    from evolvent.serve import PolicyDesk, background, make_app

    with background(make_app(PolicyDesk(Fixed("42"), None, "fixed"))) as base:
        found = light("eval", f"{base}/v1", "num_tasks=4", "--json")
        assert json.loads(found.stdout)["num_tasks"] == 4, found.stderr
        assert light("play", f"{base}/v1", "6*7?").returncode == 0
