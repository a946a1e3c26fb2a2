import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from evolvent.cli.hive_member import _Steady
from evolvent.cli.hive_swarm_screen import _read_on
from evolvent.errors import BadInput, StoreError
from evolvent.hive.agents.client import HubClient
from evolvent.hive.agents.keys import read_key
from evolvent.hive.agents.process import find_marked
from evolvent.hive.agents.room import probe
from evolvent.hive.agents.swarm import _start, read_tail
from evolvent.hive.agents.swarm_state import Cell, Swarm, hold, keep_swarm, read_start, recall_swarm
from evolvent.hive.hub.app import make_app
from evolvent.hive.hub.hub import open_hub
from evolvent.hive.hub.refusals import Refused
from evolvent.hive.hub.tasks import open_task
from evolvent.serve.door import background
from hive.live import live_hub, make_slope

IDLE = "agent=sleep 300"
ISOLATED = pytest.mark.skipif(bool(probe()), reason=f"no room for an agent here: {probe()}")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swarm")
    with live_hub(folder, make_slope(folder / "slope")) as (hub, url):
        hub.limits.rates.clear()
        yield hub, url


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Where the swarms of this test live; whatever it leaves at work is ended."""
    monkeypatch.setenv("EVOLVENT_HIVE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "home"
    for path in (tmp_path / "home").glob("*/swarms/*/*"):
        for one in find_marked(path):
            with suppress(psutil.Error):
                one.kill()


def pids_of(answer):
    return {one["agent"]: one["pid"] for one in answer["agents"]}


def states_of(answer):
    return {one["agent"]: one["state"] for one in answer["agents"]}


def folder_of(home, url):
    return home / f"127.0.0.1-{url.rpartition(':')[2]}" / "swarms" / "slope"


def until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)


# ---------------------------------------------------------------- the life of a swarm


@ISOLATED
def test_a_second_up_starts_only_the_dead_and_down_leaves_nothing(hub, home, answered, told):
    _, url = hub
    first = answered("hive", "swarm", "up", "slope", f"hub={url}", IDLE, "num=2", "stagger_s=0", "prefix=ant")
    assert states_of(first) == {"ant-1": "running", "ant-2": "running"}
    folders = {one["agent"]: home.__class__(one["folder"]) for one in first["agents"]}
    for folder in folders.values():  # the command itself is at work
        until(lambda folder=folder: any(one.name() == "sleep" for one in find_marked(folder)))
    assert pids_of(answered("hive", "swarm", "up", "slope", "stagger_s=0")) == pids_of(first)

    os.kill(pids_of(first)["ant-1"], signal.SIGKILL)
    until(lambda: recall_swarm(folder_of(home, url)).find("ant-1").state == "died")
    until(lambda: not find_marked(folders["ant-1"]))  # its room ended with it
    second = answered("hive", "swarm", "up", "slope", "stagger_s=0")
    assert states_of(second) == {"ant-1": "running", "ant-2": "running"}
    assert pids_of(second)["ant-2"] == pids_of(first)["ant-2"] and pids_of(second)["ant-1"] != pids_of(first)["ant-1"]

    status, out, _ = told("hive", "swarm", "status", "slope")
    lines = out.splitlines()
    assert status == 0 and lines[0].split() == ["agent", "pid", "state", "runs", "best", "up", "last", "line"]
    assert len({line.index("running") for line in lines[1:]}) == 1 and lines[1].startswith("ant-1")
    assert "2 of 2 at work" in told("hive", "swarm", "status")[1]

    tokens = {agent: read_key(folder / "agent.json").token for agent, folder in folders.items()}
    assert states_of(answered("hive", "swarm", "stop", "slope", "ant-2", "grace_s=5"))["ant-2"] == "stopped"
    assert answered("hive", "swarm", "down", "slope", "clean=true", "grace_s=5")["left"] == []
    assert not any(find_marked(folder) for folder in folders.values())
    assert not any(folder.exists() for folder in folders.values())
    for agent, token in tokens.items():
        with HubClient(url, token=token) as client, pytest.raises(Refused) as refused:
            client.budget("slope")
        assert refused.value.status == 401, agent
    assert answered("hive", "swarm", "status") == {"swarms": []}


def test_agents_of_a_swarm_work_and_their_logs_can_be_read(hub, home, answered, told):
    _, url = hub
    up = ("hive", "swarm", "up", "slope", f"hub={url}", "agent=hill_climb", "num=2", "stagger_s=0", "evaluations=2")
    names = list(pids_of(answered(*up, "--seed", "3")))
    until(lambda: {str(cell.state) for cell in recall_swarm(folder_of(home, url)).cells} == {"ended"})
    counts = {
        one["agent"]: (one["runs"], one["best"]) for one in answered("hive", "swarm", "status", "slope")["agents"]
    }
    assert all(runs == 2 and best >= -8 for runs, best in counts.values())
    said = answered("hive", "swarm", "logs", "slope", "lines=3")["logs"]
    assert list(said) == names and all("2 evaluations" in lines[-1] for lines in said.values())
    assert told("hive", "swarm", "logs", "slope", names[0], "lines=1")[1].strip().startswith("2 evaluations")
    assert answered("hive", "swarm", "down", "slope")["agents"] == names
    assert all((folder_of(home, url) / name).is_dir() for name in names)


# ---------------------------------------------------------------- what goes wrong


def test_a_process_that_only_has_the_number_of_an_agent_is_left_alone(home, answered):
    stranger = subprocess.Popen(["sleep", "300"])
    try:
        folder = home / "127.0.0.1-9" / "swarms" / "slope"
        cell = Cell("ant", str(folder / "ant"), stranger.pid, read_start(stranger.pid)[:-1] + "x")
        swarm = Swarm("slope", "http://127.0.0.1:9", str(folder), "sleep 300", str(home.parent), cells=(cell,))
        keep_swarm(swarm)
        assert states_of(answered("hive", "swarm", "status", "slope")) == {"ant": "died"}
        answered("hive", "swarm", "stop", "slope", "grace_s=0")
        assert stranger.poll() is None
        keep_swarm(replace(swarm, cells=(replace(cell, start=read_start(stranger.pid)),)))
        answered("hive", "swarm", "stop", "slope", "grace_s=5")  # and with its start it is the one
        assert stranger.wait(5) == -signal.SIGTERM
    finally:
        stranger.kill()
        stranger.wait()


@ISOLATED
def test_an_up_that_is_killed_half_way_is_mended_by_the_next(hub, home, answered):
    _, url = hub
    words = ["hive", "swarm", "up", "slope", f"hub={url}", IDLE, "num=2", "prefix=bee"]
    command = subprocess.Popen([sys.executable, "-m", "evolvent", *words, "stagger_s=300"], stdout=subprocess.DEVNULL)
    folder = folder_of(home, url)
    try:
        until(lambda: (swarm := recall_swarm(folder)) and any(cell.is_alive for cell in swarm.cells))
    finally:
        command.kill()
        command.wait()
    half = {cell.agent: cell for cell in recall_swarm(folder).cells}
    assert [str(cell.state) for cell in half.values()] == ["running", "new"]
    # one more was started, and the command died before that was written down
    unsaid = _start(recall_swarm(folder), half["bee-2"])
    until(lambda: find_marked(folder / "bee-2"))
    whole = answered(*words, "stagger_s=0")
    assert pids_of(whole) == {"bee-1": half["bee-1"].pid, "bee-2": unsaid.pid}
    assert set(states_of(whole).values()) == {"running"}
    answered("hive", "swarm", "down", "slope", "grace_s=5")


def test_a_full_disk_is_said_before_anybody_is_registered(hub, home):
    _, url = hub
    words = ["hive", "swarm", "up", "slope", f"hub={url}", IDLE, "num=2", "prefix=cat"]

    def forbid_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    ran = subprocess.run(
        [sys.executable, "-m", "evolvent", *words], capture_output=True, text=True, preexec_fn=forbid_files, check=False
    )
    assert ran.returncode == 1 and "swarm.json was not written: the file may not grow larger" in ran.stderr, ran.stderr
    with HubClient(url) as client:
        assert not any(one["id"].startswith("cat") for one in client._pages("/agents", "agents", {}))
    assert not list(home.rglob("agent.json"))


@ISOLATED
@pytest.mark.slow
def test_agents_wait_for_a_hub_that_is_gone_and_go_on_when_it_is_back(home, tmp_path, answered, told):
    served = open_hub(tmp_path / "hub")
    open_task(served, make_slope(tmp_path / "slope"))
    with background(make_app(served)) as url:
        port = int(url.rpartition(":")[2])
        up = ("hive", "swarm", "up", "slope", f"hub={url}", "agent=sleep 2", "num=1", "stagger_s=0", "prefix=dog")
        [name] = pids_of(answered(*up))
        log = folder_of(home, url) / name / "log.txt"
        until(lambda: "missed" in log.read_text())
    until(lambda: "waits" in log.read_text())
    status, out, _ = told("hive", "swarm", "status", "slope")
    assert status == 0 and "the hub does not answer" in out and "running" in out
    num_missed = log.read_text().count("missed")
    with background(make_app(served), port=port):
        until(lambda: log.read_text().count("missed") > num_missed)
    status, out, _ = told("hive", "swarm", "down", "slope", "grace_s=5")
    assert status == 1 and "its token is still good" in out and "once the hub answers again" in out
    with background(make_app(served), port=port):
        assert told("hive", "swarm", "down", "slope")[0] == 0
    served.close()


def test_a_task_that_is_none_registers_nobody(hub, home, refused):
    _, url = hub
    assert "task not found" in refused("hive", "swarm", "up", "slop", f"hub={url}", IDLE, "prefix=dog")
    with HubClient(url) as client:
        assert not any(one["id"].startswith("dog") for one in client._pages("/agents", "agents", {}))


def test_two_commands_do_not_change_a_swarm_at_once(home, refused):
    folder = home / "127.0.0.1-9" / "swarms" / "slope"
    with hold(folder):
        said = refused("hive", "swarm", "up", "slope", "hub=http://127.0.0.1:9", IDLE)
        assert "being changed by another command" in said
        with pytest.raises(BadInput), hold(folder):
            pass


def test_a_broken_state_is_said_and_not_overwritten(home, refused):
    folder = home / "127.0.0.1-9" / "swarms" / "slope"
    folder.mkdir(parents=True)
    for text in ("{", "[]", '{"task": "slope"}', '{"cells": [{"pid": 1}]}'):
        (folder / "swarm.json").write_text(text)
        with pytest.raises(StoreError, match="cannot be read"):
            recall_swarm(folder)
    assert "cannot be read" in refused("hive", "swarm", "up", "slope", "hub=http://127.0.0.1:9", IDLE, status=1)
    assert (folder / "swarm.json").read_text() == '{"cells": [{"pid": 1}]}'


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "a swarm does one of these"),
        (["upp", "slope"], "did you mean up"),
        (["up"], "works on one task"),
        (["up", "slope", "golf"], "works on one task"),
        (["up", "slope"], "which hub"),
        (["up", "slope", "hub=ftp://x"], "hub"),
        (["up", "slope", "hub=http://127.0.0.1:9"], "what shall they be"),
        (["up", "slope", "hub=http://127.0.0.1:9", IDLE, "num=0"], "not a whole number"),
        (["up", "slope", "hub=http://127.0.0.1:9", IDLE, "num=51"], "1 to 50"),
        (["up", "slope", "hub=http://127.0.0.1:9", IDLE, "stagger_s=soon"], "seconds"),
        (["up", "slope", "hub=http://127.0.0.1:9", IDLE, "name=me"], "prefix=NAME"),
        (["up", "slope", "hub=http://127.0.0.1:9", IDLE, "limits=3"], "did you mean limit_s"),
        (["up", "slope", "hub=http://127.0.0.1:9", IDLE, "limit_s=0"], "needs time"),
        (["up", "slope", "hub=http://127.0.0.1:9", "agent=hillclimb"], "hill_climb"),
        (["up", "slope", "hub=http://127.0.0.1:9", "agent=no-such thing"], "no such agent"),
        (["up", "../slope", "hub=http://127.0.0.1:9", IDLE], "no name of a task"),
        (["status", "slope"], "no such swarm"),
        (["logs", "slope", "of=mine"], "agent | command"),
        (["stop", "slope", "clean=true"], "no field 'clean'"),
        (["down", "slope", "clean=yes"], "true | false"),
    ],
)
def test_wrong_words_are_answered_with_the_right_ones(home, refused, words, complaint, monkeypatch):
    for name in ("HIVE_SERVER", "EVOLVENT_HIVE"):
        monkeypatch.delenv(name, raising=False)
    assert complaint in refused("hive", "swarm", *words)


# ---------------------------------------------------------------- small parts


def test_a_process_is_known_by_its_start_and_a_zombie_is_dead():
    child = subprocess.Popen(["true"])
    until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert read_start(child.pid) == ""
    child.wait()
    assert read_start(child.pid) == "" and read_start(os.getpid()) == read_start(os.getpid()) != ""


def test_a_state_says_the_same_after_a_round_trip(tmp_path):
    cell = Cell("ant", str(tmp_path / "ant"), 12, "boot:34", 5.0, is_stopped=True)
    swarm = Swarm("slope", "http://h:1", str(tmp_path), "a {prompt}", "/", "ant", {"limit_s": "3"}, (cell,))
    keep_swarm(swarm)
    assert recall_swarm(tmp_path) == swarm and "token" not in (tmp_path / "swarm.json").read_text()
    assert json.loads((tmp_path / "swarm.json").read_text())["cells"][0]["pid"] == 12


def test_a_log_is_read_from_its_end_and_on_as_it_grows(tmp_path):
    log = tmp_path / "log"
    assert read_tail(log, 3) == [] and _read_on(log, 0) == ([], 0)
    log.write_bytes(b"".join(b"%06d\n" % i for i in range(20000)))
    assert read_tail(log, 2) == ["019998", "019999"] and len(read_tail(log, 10**6)) < 10000
    log.write_bytes(b"one\ntw")
    assert _read_on(log, 0) == (["one"], 4)
    log.write_bytes(b"one\ntwo\n")
    assert _read_on(log, 4) == (["two"], 8)
    log.write_bytes(b"new\n")
    assert _read_on(log, 8) == (["new"], 4)


def test_words_that_find_no_room_end_no_agent(capfd):
    with Path("/dev/full").open("wb") as full:
        print("lost", file=_Steady(full.fileno()), flush=True)
    print("kept \udc00", file=_Steady(1), flush=True)
    assert capfd.readouterr().out == "kept ?\n"
