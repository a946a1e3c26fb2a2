import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import httpx
import pytest

from evolvent.cli.hive import DEEDS
from hive.live import ANSWER, make_slope
from processes import await_end, below

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="artifacts run in a sandbox of Linux")
WRONG = [
    ("", "hive does one of these"),
    ("serv", "did you mean serve"),
    ("serve golf", "fields alone"),
    ("serve tasks=golv", "did you mean golf"),
    ("serve tasks=notask", "task.toml is missing"),
    ("serve home=file", "a hub needs a folder"),
    ("serve workers=x", "not a whole number"),
    ("serve workers=-1", "not a whole number"),
    ("serve alpha=2", "0 < alpha < 1"),
    ("serve lease_s=nan", "above 0"),
    ("serve lease_s=0", "above 0"),
    ("serve registration=opne", "did you mean open"),
    ("serve hom=x", "did you mean home"),
    ("serve host=0.0.0.0", "registration=invited"),
    ("serve --seed 3", "no effect on serve"),
    ("serve database=mysql://x", "postgresql://"),
    ("serve home=h --port 99999", "not a port"),
    ("work", "which hub?"),
    ("work hub=http://", "which hub?"),
    ("work words", "fields alone"),
    ("work hub=http://127.0.0.1:1", "EVOLVENT_HIVE_KEY"),
    ("work hub=http://127.0.0.1:1 key_file=nofile", "cannot be read"),
    ("work hub=http://127.0.0.1:1 key_file=file", "no key of a user"),
    ("work num=2.5", "not a whole number"),
    ("work max_jobs=0", "max_jobs=1"),
    ("work on=moon", "local | ray"),
    ("work --port 9", "no effect on work"),
    ("open", "one task"),
    ("open nothere hub=http://127.0.0.1:1", "no task and no folder"),
    ("board golf packing", "one task"),
    ("board hub=127.0.0.1:8000", "did you mean http://127.0.0.1:8000?"),
    ("serve port=8500", "--port 8500"),
    ("board golf num=x hub=http://127.0.0.1:1", "not a whole number"),
    ("admin", "a key for somebody"),
    ("admin usr", "did you mean user"),
    ("admin user", "NAME"),
    ("admin user a b", "other words"),
    ("admin user a rule=x hub=http://127.0.0.1:1", "did you mean role"),
    ("admin invite uses=0 hub=http://127.0.0.1:1 key_file=key", "nobody can use"),
    ("admin invite uses=x hub=http://127.0.0.1:1 key_file=key", "not a whole number"),
    ("demo words", "fields alone"),
    ("demo task=golv", "did you mean golf"),
    ("demo seconds=-1", "above 0"),
    ("demo agents=,", "nobody would search"),
    ("demo agents=climber", "no searcher"),
    ("demo wrokers=3", "did you mean workers"),
]
Running = namedtuple("Running", "process url home lines")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder with a few things that are not what they should be."""
    monkeypatch.chdir(tmp_path)
    for name in ("EVOLVENT_HIVE", "HIVE_SERVER", "EVOLVENT_HIVE_KEY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "file").write_text("hello")
    (tmp_path / "key").write_text("hive_x\n")
    (tmp_path / "notask").mkdir()
    return tmp_path


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[words or "nothing" for words, _ in WRONG])
def test_what_is_wrong_is_said_with_the_place_and_the_way_out(refused, here, words, said):
    error = refused("hive", *words.split())
    assert said in error
    assert "where:" in error or "port" in error
    assert "Traceback" not in error
    assert not list(here.glob("hive*/*")), "a folder was made for a command that was refused"


def test_every_deed_is_listed_with_what_it_takes(refused):
    error = refused("hive")
    assert all(f" {deed} " in error for deed in DEEDS)
    assert max(map(len, error.splitlines())) < 120


def test_a_hub_that_is_not_there_is_named(told, here):
    status, _, error = told("hive", "board", "golf", "hub=http://127.0.0.1:1")
    assert status == 1 and "does not answer" in error and "evolvent hive serve" in error


@contextlib.contextmanager
def serving(folder, *words):
    """A hub as a user starts it; the line of --json says where it is."""
    home = folder / "hub"
    line = [sys.executable, "-m", "evolvent", "hive", "serve", f"home={home}", *words, "--json"]
    if "--port" not in words:
        line += ["--port", "0"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    lines = []
    listening = threading.Thread(target=lambda: lines.extend(process.stderr), daemon=True)
    listening.start()
    try:
        first = process.stdout.readline()
        assert first, "".join(lines)
        yield Running(process, json.loads(first)["url"], home, lines)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        listening.join(10)
        process.stdout.close()
        process.stderr.close()


def children(pid):
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def await_best(url, task="slope", patience_s=60):
    until = time.monotonic() + patience_s
    while (best := httpx.get(f"{url}/api/tasks/{task}").json()["best_score"]) is None:
        assert time.monotonic() < until, "the baseline was not measured"
        time.sleep(0.05)
    return best


def await_lease(url, patience_s=60):
    until = time.monotonic() + patience_s
    while 'hive_jobs{state="leased"} 1' not in httpx.get(f"{url}/api/metrics").text:
        assert time.monotonic() < until, "nobody works"
        time.sleep(0.05)


def runs_of(url):
    return httpx.get(f"{url}/api/tasks/slope/runs", params={"view": "all", "sort": "recent:asc"}).json()["runs"]


def without_address(runs):
    return [{name: value for name, value in run.items() if name != "fork_url"} for run in runs]


@ON_LINUX
def test_a_hub_ends_at_a_signal_also_with_listeners_and_workers_and_goes_on_with_everything(tmp_path):
    make_slope(tmp_path / "task", more={"public/answer.py": f"import time\ntime.sleep(0.3)\n{ANSWER}"})
    with serving(tmp_path, f"tasks={tmp_path / 'task'}", "workers=2") as hub:
        with httpx.stream("GET", f"{hub.url}/api/events") as events:
            said = events.iter_lines()
            assert next(said) == ": hello", "".join(hub.lines)
            started = below(hub.process.pid)
            assert len(started) >= 2, "no workers were started"
            hub.process.send_signal(signal.SIGINT)
            assert hub.process.wait(15) == 0
            for _ in said:  # the stream ends, and is not cut
                pass
        assert not await_end(started), "workers or artifacts outlived the hub"
        port = hub.url.rpartition(":")[2]
    words = "".join(hub.lines)
    assert "Traceback" not in words and "ERROR" not in words, words
    assert "the same command goes on" in words
    with serving(tmp_path, f"tasks={tmp_path / 'task'}", "--port", port) as hub:
        assert await_best(hub.url) == -8.0
        started, runs = below(hub.process.pid), runs_of(hub.url)
        os.kill(hub.process.pid, signal.SIGKILL)
        hub.process.wait(15)
        assert not await_end(started, patience_s=20), "workers outlived a hub that was killed"
    with serving(tmp_path, f"tasks={tmp_path / 'task'}", "workers=0") as hub:
        assert without_address(runs_of(hub.url)) == without_address(runs), "something was lost"


@ON_LINUX
def test_a_worker_that_was_killed_is_started_again_and_its_measurement_is_made(tmp_path):
    make_slope(tmp_path / "task", more={"public/answer.py": f"import time\ntime.sleep(2)\n{ANSWER}"})
    with serving(tmp_path, f"tasks={tmp_path / 'task'}", "workers=1", "lease_s=3600") as hub:
        await_lease(hub.url)
        for worker in children(hub.process.pid):
            os.kill(worker, signal.SIGKILL)
        assert await_best(hub.url) == -8.0
        assert any("own-1 ended with -9, and is started again" in line for line in hub.lines), hub.lines


@pytest.mark.slow
@ON_LINUX
def test_a_measurement_that_an_ended_hub_left_is_taken_up_at_once(tmp_path):
    make_slope(tmp_path / "task", more={"public/answer.py": f"import time\ntime.sleep(2)\n{ANSWER}"})
    with serving(tmp_path, f"tasks={tmp_path / 'task'}", "workers=1", "lease_s=3600") as hub:
        await_lease(hub.url)
        hub.process.send_signal(signal.SIGTERM)
        hub.process.wait(15)
    with serving(tmp_path, "workers=1", "lease_s=3600") as hub:
        assert await_best(hub.url) == -8.0, "it waits for a lease that nobody holds"


def test_people_and_tasks_are_looked_after_from_the_command_line(tmp_path, told, answered, refused, monkeypatch):
    make_slope(tmp_path / "task")
    with serving(tmp_path, "workers=0") as hub:
        at, key = f"hub={hub.url}", f"key_file={hub.home / 'admin.key'}"
        assert {path.stat().st_mode & 0o777 for path in hub.home.glob("*.key")} == {0o600}
        made = answered("hive", "admin", "user", "olga", "role=owner", at, key)
        assert made["role"] == "owner" and made["key"].startswith("hive_")
        (tmp_path / "olga").write_text(made["key"])
        opened = answered("hive", "open", str(tmp_path / "task"), at, f"key_file={tmp_path / 'olga'}", "title=Slope")
        assert opened["task"] == "slope"
        assert "only an admin" in refused("hive", "admin", "user", "eve", at, f"key_file={tmp_path / 'olga'}")
        assert answered("hive", "admin", "invite", "uses=3", at, key)["uses"] == 3
        monkeypatch.setenv("EVOLVENT_HIVE", hub.url)
        monkeypatch.setenv("EVOLVENT_HIVE_KEY", made["key"])
        assert answered("hive", "admin", "close", "slope")["state"] == "closed"
        assert answered("hive", "admin", "reopen", "slope")["state"] == "open"
        status, out, _ = told("hive", "admin", "close", "slope")
        assert status == 0 and {"id           slope", "state        closed"} <= set(out.splitlines()), out
        assert "slop" in refused("hive", "admin", "close", "slop")
        status, out, _ = told("hive", "board", "slope")
        assert status == 0 and "slope: worth, maximize" in out
        assert answered("hive", "board", "slope")["rows"] == []
        status, out, _ = told("hive", "board")
        assert status == 0 and ["slope", "worth", "maximize"] in [line.split()[:3] for line in out.splitlines()], out
        assert [task["id"] for task in answered("hive", "board")["tasks"]] == ["slope"]


def test_a_second_hub_in_one_folder_is_refused_and_harms_nothing(tmp_path, refused):
    with serving(tmp_path, "workers=0") as hub:
        error = refused("hive", "serve", f"home={hub.home}", "--port", "0", status=1)
        assert "a hub is open in this folder" in error and str(hub.process.pid) in error
        error = refused("hive", "serve", f"home={tmp_path / 'other'}", "--port", hub.url.rpartition(":")[2])
        assert "cannot listen" in error and "--port 0" in error
        assert httpx.get(f"{hub.url}/api/health").status_code == 200


@ON_LINUX
def test_a_demo_that_is_stopped_still_prints_what_it_reached_and_leaves_no_process(tmp_path):
    make_slope(tmp_path / "task")
    line = [sys.executable, "-m", "evolvent", "hive", "demo", f"task={tmp_path / 'task'}", f"home={tmp_path / 'hub'}"]
    line += ["workers=2", "agents=hill_climb,crossover", "seconds=600"]
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    seen = []
    try:
        for text in process.stdout:
            seen.append(text)
            if text.startswith("start"):
                started = below(process.pid)
            if " hill-climb-1 " in text:
                process.send_signal(signal.SIGINT)
                break
        out, _ = process.communicate(timeout=120)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    words = "".join(seen) + out
    assert process.returncode == 0, words
    assert "stopped: what was reached is still measured" in words
    assert "slope: worth, maximize" in words and "on the hold-out" in words and "lineage  hub -8" in words
    assert "Traceback" not in words, words
    assert not await_end(started), "processes were left behind"
