import json
import time
from importlib import import_module

import pytest

from evolvent.cli.side_by_side import Job, run_side_by_side

JOBS = """
import os, time
from pathlib import Path
from evolvent.errors import BadInput


def work(kind, folder, tell):
    tell(f"working on {kind}")
    (Path(folder) / kind).write_text(f"{os.environ['OMP_NUM_THREADS']} {time.time()}")
    if kind == "refused":
        raise BadInput("not this way", cure="another way")
    if kind == "broken":
        raise ZeroDivisionError("by nothing")
    if kind == "killed":
        os._exit(9)
    time.sleep(60 if kind == "slow" else 0.2)
    return kind.upper()
"""


@pytest.fixture
def job(tmp_path, monkeypatch):
    (tmp_path / "side_jobs.py").write_text(JOBS)
    monkeypatch.syspath_prepend(tmp_path)
    work = import_module("side_jobs").work
    yield lambda kind: Job(kind, work, (kind, str(tmp_path)))
    import sys

    sys.modules.pop("side_jobs")


def test_every_job_comes_back_with_its_value_or_with_why_not(job, tmp_path):
    said = []
    jobs = [job(kind) for kind in ("fine", "refused", "killed", "broken")]
    outcomes = {o.job.name: o for o in run_side_by_side(jobs, 2, lambda running: said.append(json.dumps(running)))}
    assert outcomes["fine"].value == "FINE" and not outcomes["fine"].failure
    assert "not this way" in outcomes["refused"].failure and "another way" in outcomes["refused"].failure
    assert "status 9" in outcomes["killed"].failure
    assert "ZeroDivisionError" in outcomes["broken"].failure
    assert (tmp_path / "fine").read_text().startswith("1 ")
    assert any("working on fine" in words for words in said)


def test_whoever_stops_listening_stops_the_jobs(job, tmp_path):
    outcomes = run_side_by_side([job("fine"), job("slow"), job("never")], 2)
    assert next(outcomes).value == "FINE"
    start = time.monotonic()
    outcomes.close()
    assert time.monotonic() - start < 30
    assert not (tmp_path / "never").exists()
