import os
import subprocess
import sys
from pathlib import Path

import pytest

from evolvent.envs import sandbox
from evolvent.errors import BadInput, InfrastructureError


def test_every_tier_is_probed_and_says_why_it_does_not_work():
    found = sandbox.probe_all()
    assert tuple(found) == sandbox.TIERS
    assert all(isinstance(why, str) for why in found.values())


def test_the_best_is_the_first_that_works_and_is_one_for_the_process():
    works = [tier for tier, why in sandbox.probe_all().items() if not why]
    if not works:
        with pytest.raises(InfrastructureError, match="no sandbox works here"):
            sandbox.best()
        return
    assert sandbox.best().name == works[0]
    assert sandbox.best() is sandbox.best(works[0])


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(BadInput, match="bublewrap") as caught:
        sandbox.best("bublewrap")
    assert "bubblewrap" in caught.value.cure


BARE = """
from evolvent.envs import sandbox
from evolvent.envs.sandbox import choose
choose.TIERS = sandbox.TIERS = ("bubblewrap",)
from evolvent.errors import InfrastructureError
for name in (None, "bubblewrap"):
    try: sandbox.best(name); print("ran without a sandbox")
    except InfrastructureError as error: print(error)
"""


def test_without_a_tier_nothing_runs_and_the_cure_is_said(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BARE],
        env={**os.environ, "PATH": str(tmp_path)},  # no bwrap to be found
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "no sandbox works here" in done.stdout and "apt install bubblewrap" in done.stdout
    assert "ran without" not in done.stdout


def test_choosing_imports_no_tier_before_it_is_asked():
    code = "import sys, evolvent.envs.sandbox; print([n for n in sys.modules if n.endswith(('.bubblewrap', '.monty'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n", Path(__file__).name
