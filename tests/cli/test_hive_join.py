import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from evolvent.cli.hive_progress import decision, make_teller, tell_result
from evolvent.cli.screen import Screen
from evolvent.hive.agents.client import HubClient
from evolvent.hive.agents.proposer import Proposal
from hive.live import live_hub, make_slope


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("join")
    with live_hub(folder, make_slope(folder / "slope")) as (hub, url):
        hub.limits.rates.clear()
        yield hub, url


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("EVOLVENT_HIVE_HOME", str(tmp_path / "agents"))
    monkeypatch.delenv("EVOLVENT_HIVE", raising=False)
    monkeypatch.delenv("HIVE_SERVER", raising=False)
    return tmp_path / "agents"


def names(url):
    with HubClient(url) as nobody:
        return {run["agent_id"] for run in nobody.runs("slope", view="all", sort="recent")}


def test_an_agent_joins_and_is_the_same_one_again(served, answered, home, monkeypatch):
    _, url = served
    first = answered("hive", "join", "slope", f"hub={url}", "agent=hill_climb", "evaluations=1")
    assert (first["agent"], first["evaluations"], first["why"]) == ("hill-climb", 1, "its limit is used: evaluations")
    monkeypatch.setenv("EVOLVENT_HIVE", url)
    again = answered("hive", "join", "slope", "evaluations=1", "--seed", "3")
    assert again["agent"] == "hill-climb"
    assert again["best"]["number"] > first["best"]["number"]
    [key] = home.rglob("agents/*.json")
    assert key.stat().st_mode & 0o077 == 0


def test_a_person_sees_a_line_for_each_evaluation(served, told):
    _, url = served
    status, out, _ = told("hive", "join", "slope", f"hub={url}", "agent=random", "name=blind", "evaluations=1")
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == "agent   blind (random)"
    assert lines[1] == f"task    slope at {url}"
    assert lines[2].startswith("folder  ")
    assert lines[3].startswith("#")
    assert " best " in lines[3]
    assert lines[4] == "ended   its limit is used: evaluations"
    assert "1 evaluations, 1 official" in lines[5]


def test_a_line_says_number_value_interval_decision_best_and_change():
    measured = {"value": 0.8123, "low": 0.801, "high": 0.823, "num": 3}
    run = {
        "verified": True,
        "verified_score": 0.8123,
        "measured": measured,
        "is_kept": True,
        "number": 12,
        "tldr": "a\nb",
    }
    line = tell_result(run, {"best_score": 0.8123, "direction": "maximize"})
    waits = tell_result({**run, "is_kept": None}, {"best_score": 0.5, "direction": "maximize"})
    assert waits.split()[4:7] == ["waits", "best", "0.5"]
    assert line.split() == ["#12", "0.8123", "[0.801,", "0.823]", "kept", "best", "0.8123", "a", "b"]
    bad = {**run, "verified": False, "why": "late: it ran longer than 2 s", "is_kept": None}
    assert "late: it ran longer than 2 s" in tell_result(bad, {"best_score": None, "direction": "maximize"})
    assert decision(bad, {"best_score": None, "direction": "maximize"}) == "invalid"
    assert "invalid" in tell_result(bad, {"best_score": None, "direction": "maximize"})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "one task"),
        (("slope", "golf"), "one task"),
        (("slope", "agent=hill-clmb"), "did you mean hill_climb"),
        (("slope", "evaluations=0"), "evaluations=20"),
        (("slope", "evaluations=1.5"), "whole number"),
        (("slope", "seconds=nan"), "above 0"),
        (("slope", "alone=yes"), "true or false"),
        (("slope", "nme=x"), "did you mean name"),
        (("slope", "name=No Name"), "name of an agent"),
        (("slop",), "not found"),
    ],
)
def test_what_is_wrong_is_said_before_anybody_is_registered(served, refused, words, said, home):
    assert said in refused("hive", "join", *words, f"hub={served[1]}")
    assert not list(home.rglob("*.json"))


def test_a_field_of_another_kind_of_agent_is_refused(served, refused):
    assert "has no effect" in refused("hive", "join", "slope", f"hub={served[1]}", "agent=tpe", "mode=free")


def test_without_a_hub_it_says_how_to_name_one(refused):
    assert "EVOLVENT_HIVE=URL" in refused("hive", "join", "slope")


def test_a_name_that_somebody_has_is_theirs_and_a_kind_gets_another(served, refused, answered, home):
    _, url = served
    with HubClient(url) as nobody:
        nobody.register("taken")
        nobody.register("crossover")
    assert "taken" in refused("hive", "join", "slope", f"hub={url}", "name=taken", "evaluations=1")
    told = answered("hive", "join", "slope", f"hub={url}", "agent=crossover", "seconds=0.001")
    assert told["agent"] != "crossover"
    assert answered("hive", "join", "slope", f"hub={url}", "agent=crossover", "seconds=0.001")["agent"] == told["agent"]


def test_a_hub_that_does_not_know_the_token_is_told_where_the_token_lies(served, refused, home):
    _, url = served
    words = ("hive", "join", "slope", f"hub={url}", "agent=random", "name=lost", "seconds=9")
    with HubClient(url) as nobody:
        made = nobody.register("lost")
    from evolvent.hive.agents.keys import Key, hub_folder, keep_key

    path = hub_folder(home, url) / "agents" / "lost.json"
    keep_key(path, Key("lost", made["token"] + "x"))
    assert str(path) in refused(*words)


def test_ctrl_c_ends_after_the_step_with_what_was_done(served, tmp_path):
    _, url = served
    words = [
        sys.executable,
        "-u",
        "-m",
        "evolvent",
        "hive",
        "join",
        "slope",
        f"hub={url}",
        "agent=random",
        "name=stops",
    ]
    agent = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    for line in agent.stdout:
        if line.startswith("#"):
            break
    agent.send_signal(signal.SIGINT)
    out, err = agent.communicate(timeout=120)
    assert agent.returncode == 130, err
    assert "stopping after this step" in out
    assert "ended   stopped" in out
    assert "Traceback" not in err


def test_a_command_that_drives_itself_says_in_the_end_how_it_ended_and_where_its_words_are(served, told, tmp_path):
    words = ("agent=sh -c 'echo hello; exit 3'", "mode=free", "isolate=none", "name=free-one")
    status, out, _ = told("hive", "join", "slope", f"hub={served[1]}", *words)
    assert status == 3, out
    line = out.splitlines()[-1]
    assert line.startswith("ended   the command ended with status 3"), out
    assert "hello" in Path(line.rpartition(": ")[2]).read_text()


def test_without_git_it_says_so(served, refused, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt install git" in refused("hive", "join", "slope", f"hub={served[1]}", "agent=random", "evaluations=1")
    assert "apt install git" in refused("hive", "demo", "seconds=1")


def test_a_token_that_cannot_be_kept_takes_no_name(served, answered, refused, monkeypatch, tmp_path):
    words = ("hive", "join", "slope", f"hub={served[1]}", "agent=random", "evaluations=1", "name=kept-name")
    (tmp_path / "file").write_text("no folder")
    assert "folder= of an agent" in refused(*words, f"folder={tmp_path / 'file'}", status=1)
    assert answered(*words, f"folder={tmp_path / 'good'}")["agent"] == "kept-name"


def test_a_page_of_a_hub_is_not_the_address_of_one(served, refused):
    error = refused("hive", "join", "slope", f"hub={served[1]}/tasks/slope")
    assert "is this the address of a hub?" in error and "/tasks/slope" in error


def test_a_command_that_changes_nothing_is_said_to_have_changed_nothing(capsys):
    tell = make_teller(Screen(as_json=False))
    for message in ("", "no idea"):
        tell("miss", {"proposal": Proposal(message, message, None)})
    assert capsys.readouterr().out.splitlines() == ["missed  nothing was changed", "missed  no idea"]
