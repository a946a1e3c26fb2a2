import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="artifacts run in a sandbox of Linux")
def test_an_agent_of_ones_own_gets_better_in_a_hive():
    done = subprocess.run([sys.executable, EXAMPLES / "autoresearch.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split(maxsplit=3) for line in done.stdout.splitlines()]
    assert [row[2] for row in rows].count("researcher") == 3 and rows[0][2] == "researcher", done.stdout
    assert float(rows[0][1]) > float(next(row[1] for row in rows if row[2] == "hub")) and not done.stderr, done.stderr
