import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from evolvent.errors import BadInput, StoreError
from evolvent.records import Cell, Estimate, Report
from evolvent.store import SCHEMA, Run, write_text


def made(tmp_path: Path) -> Run:
    return Run.create('{"num_steps": 3}', "improve", 7, tmp_path / "r")


def report(step: int, name: str) -> Report:
    cell = Cell("arithmetic", 1, ("t",), (1.0,), (0.5,), (0.5,), (1.0,), (9.0,))
    return Report(step, name, (cell,), {"sampled": Estimate(0.5, 0.4, 0.6, 1)})


def test_a_run_writes_what_it_is_before_the_first_step(tmp_path: Path) -> None:
    run = made(tmp_path)
    info = json.loads((run.path / "run.json").read_text())
    assert info["schema"] == SCHEMA and info["seed"] == 7 and info["recipe"] == "improve"
    assert set(info["versions"]) == {"python", "evolvent", "torch", "transformers"} and info["versions"]["python"]
    assert "platform" in info and "commit" in info
    assert run.plan_json == '{"num_steps": 3}'
    again = Run.reopen(run.path)
    assert again == run and again.seed == 7 and again.name == "r"


def test_runs_are_numbered_under_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [Run.create("{}", "improve", 3).path for _ in range(2)]
    assert paths == [tmp_path / "runs" / "improve-3-1", tmp_path / "runs" / "improve-3-2"]


def test_a_folder_in_use_or_not_empty_is_refused(tmp_path: Path) -> None:
    run = made(tmp_path)
    with pytest.raises(StoreError, match="--resume"):
        made(tmp_path)
    write_text(tmp_path / "other" / "thesis.tex", "x")
    with pytest.raises(StoreError, match="not empty"):
        Run.create("{}", "improve", 0, tmp_path / "other")
    with pytest.raises(StoreError, match="names a file"):
        Run.create("{}", "improve", 0, run.path / "plan.json")


def test_a_start_that_was_killed_half_way_can_be_repeated(tmp_path: Path) -> None:
    run = made(tmp_path)
    (run.path / "run.json").unlink()
    (run.path / ".run.json.1-0-0.tmp").write_text("{")
    assert made(tmp_path).seed == 7


def test_a_newer_schema_a_missing_file_and_a_broken_file_are_said(tmp_path: Path) -> None:
    run = made(tmp_path)
    info = json.loads((run.path / "run.json").read_text())
    write_text(run.path / "run.json", json.dumps({**info, "schema": SCHEMA + 1}))
    with pytest.raises(StoreError, match="newer version") as caught:
        Run.reopen(run.path)
    assert "upgrade" in caught.value.cure
    write_text(run.path / "run.json", "{")
    with pytest.raises(StoreError, match=r"run\.json is broken"):
        Run.reopen(run.path)
    (run.path / "plan.json").unlink()
    with pytest.raises(StoreError, match=r"plan\.json missing"):
        Run.reopen(run.path)
    with pytest.raises(StoreError, match="no such folder"):
        Run.reopen(tmp_path / "nowhere")


HOLD = """
import sys, time
from evolvent.store import Run
with Run.reopen(sys.argv[1]).lock():
    print("locked", flush=True)
    time.sleep(60)
"""


def test_two_runs_in_one_directory_are_refused_and_a_dead_one_frees_it(tmp_path: Path) -> None:
    run = made(tmp_path)
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(run.path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "locked\n"
    with pytest.raises(StoreError, match=f"process {child.pid}"), run.lock():
        pass
    child.send_signal(signal.SIGKILL)
    child.wait()
    with run.lock():
        assert (run.path / "lock").read_text() == f"{os.getpid()}\n"
        with pytest.raises(StoreError, match=str(os.getpid())), Run.reopen(run.path).lock():
            pass
    with run.lock():
        pass


def test_a_forked_worker_does_not_keep_the_lock(tmp_path: Path) -> None:
    run = made(tmp_path)
    context = multiprocessing.get_context("fork")
    started, gate = context.Event(), context.Event()
    with run.lock():
        worker = context.Process(target=lambda: (started.set(), gate.wait()), daemon=True)
        worker.start()
        assert started.wait(30)
    try:
        with run.lock():
            pass
    finally:
        gate.set()
        worker.join()


def test_lines_are_sorted_and_what_json_cannot_carry_is_null(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    run = made(tmp_path)
    run.log(1, {"loss": 0.5, "b": float("nan"), "a": float("inf"), "phase": "practice", "levels": {"z:2": 1, "a:1": 2}})
    run.log(2, {"loss": np.float32(0.25), "n": np.int64(3), "none": None, "yes": True})
    first, second = (run.path / "metrics.jsonl").read_text().splitlines()
    assert (
        first == '{"step": 1, "a": null, "b": null, "levels": {"a:1": 2, "z:2": 1}, "loss": 0.5, "phase": "practice"}'
    )
    assert second == '{"step": 2, "loss": 0.25, "n": 3, "none": null, "yes": true}'
    assert run.metrics()[0]["levels"] == {"a:1": 2, "z:2": 1}
    with pytest.raises(BadInput, match="cannot be logged"):
        run.log(3, {"x": [1]})
    run.time(1, {"play_s": 0.1})
    assert run.timings() == [{"step": 1, "play_s": 0.1}]


def test_a_torn_last_line_is_said_and_a_broken_middle_line_is_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = made(tmp_path)
    run.log(1, {"loss": 0.5})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    with caplog.at_level(logging.WARNING):
        assert run.metrics() == [{"step": 1, "loss": 0.5}]
    assert "line 2 is half-written" in caplog.text
    run.log(2, {"loss": 0.25})
    assert [line["step"] for line in run.metrics()] == [1, 2]
    (run.path / "metrics.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(StoreError, match="line 2 of metrics"):
        run.metrics()


def test_reports_come_back_by_step_and_name(tmp_path: Path) -> None:
    run = made(tmp_path)
    run.keep_report(report(10, "after"))
    run.keep_report(report(2, "before"))
    run.keep_report(report(2, "x"), "greedy-before")
    run.keep_report(report(2, ""))
    assert [(r.step, r.name) for r in run.reports()] == [(2, ""), (2, "before"), (2, "greedy-before"), (10, "after")]
    assert run.report(2, "before") == report(2, "before")
    assert sorted(p.name for p in (run.path / "reports").iterdir())[0] == "step-000002-before.json"
    with pytest.raises(StoreError, match="no such report"):
        run.report(3, "before")
    with pytest.raises(BadInput, match="name for a file"):
        run.keep_report(report(2, "../x"))


def checkpoint(run: Run, step: int) -> None:
    def fill(folder: Path) -> None:
        write_text(folder / "agent" / "config.json", "{}")
        write_text(folder / "state" / "curriculum.json", str(step))

    run.keep_checkpoint(step, fill)


def test_the_last_checkpoint_is_the_newest_finished_one(tmp_path: Path) -> None:
    run = made(tmp_path)
    assert run.last_checkpoint() is None
    for step in (0, 5, 10, 1_000_000):
        checkpoint(run, step)
    (run.path / "checkpoints" / ".step-2000000.1-0-0.tmp").mkdir()
    found = run.last_checkpoint()
    assert found is not None and found[0] == 1_000_000
    assert (found[1] / "agent" / "config.json").exists() and (found[1] / "state").is_dir()
    run.prune(2)
    assert [step for step, _ in run.checkpoints()] == [10, 1_000_000]
    with pytest.raises(BadInput):
        run.prune(0)


def test_rewinding_and_doing_it_again_gives_the_same_bytes(tmp_path: Path) -> None:
    def live(run: Run, first: int, last: int) -> None:
        for step in range(first, last + 1):
            run.log(step, {"loss": 1 / (step + 3), "phase": "practice"})
            run.log(step, {"heldout/after": step / 7})
            run.time(step, {"play_s": 0.5})
            run.keep_report(report(step, "after"))
            run.keep_episodes(step, [])
            if step % 2 == 0:
                checkpoint(run, step)

    whole, killed = (Run.create("{}", "improve", 0, tmp_path / name) for name in "ab")
    live(whole, 0, 6)
    live(killed, 0, 5)
    with (killed.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    (killed.path / "checkpoints" / ".step-000006.99999999-0-0.tmp").mkdir()
    found = killed.last_checkpoint()
    assert found is not None and found[0] == 4
    killed.rewind(4)
    assert [p.name for p in killed.episode_files()][-1] == "step-000004.parquet"
    assert killed.reports()[-1].step == 4 and killed.timings()[-1]["step"] == 4
    live(killed, 5, 6)
    assert (killed.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()
    everything = [sorted(p.relative_to(r.path) for p in r.path.rglob("*")) for r in (whole, killed)]
    assert everything[0] == everything[1]
    killed.rewind(-1)
    assert killed.metrics() == [] and killed.checkpoints() == [] and killed.reports() == []


def test_the_private_folder_is_for_its_owner_only(tmp_path: Path) -> None:
    assert (made(tmp_path).path / "private").stat().st_mode & 0o077 == 0
