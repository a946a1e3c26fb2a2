"""The public command-line client, hive-evolve 0.2.x, pointed at our hub, as its users type it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from evolvent.hive.hub.app import make_app
from evolvent.serve.door import background
from hive.hub.desk import Desk

HIVE = Path(sys.executable).with_name("hive")


def why_not():
    if shutil.which("git") is None:
        return "git is not installed"
    if not HIVE.exists():
        return "hive-evolve is not installed"
    done = subprocess.run([HIVE, "--help"], capture_output=True, check=False)
    return "" if done.returncode == 0 else "hive-evolve does not start here: its typer is too new"


pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it is")


class Person:
    """Somebody with a home folder and the client."""

    def __init__(self, url, home):
        self.home, self.at = home, home
        git = {
            "GIT_AUTHOR_NAME": "A",
            "GIT_AUTHOR_EMAIL": "a@b",
            "GIT_COMMITTER_NAME": "A",
            "GIT_COMMITTER_EMAIL": "a@b",
        }
        plain = {"HOME": str(home), "HIVE_SERVER": url, "NO_COLOR": "1", "COLUMNS": "200", "TERM": "dumb"}
        self.environment = {"PATH": os.environ["PATH"], **plain, **git}

    def run(self, *command, fails=False):
        done = subprocess.run(command, cwd=self.at, env=self.environment, capture_output=True, text=True, check=False)
        assert bool(done.returncode) == fails, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def hive(self, *words, fails=False):
        return self.run(str(HIVE), *words, fails=fails)


@pytest.fixture
def scene(hub, tmp_path):
    desk = Desk(hub, tmp_path, "bob")
    desk.work(lambda *_: 0.5)
    with background(make_app(hub)) as url:
        (tmp_path / "home").mkdir()
        yield desk, Person(url, tmp_path / "home")


def test_from_registration_to_an_official_number(scene):
    desk, person = scene
    assert "ann" in person.hive("auth", "register", "--name", "ann")
    assert "0.500" in person.hive("task", "list")
    person.hive("task", "clone", "labels")
    person.at = person.home / "labels"
    assert {"program.md", "solve.py", "eval"} <= {path.name for path in person.at.iterdir()}
    assert not (person.at / "sealed").exists()
    (person.at / "solve.py").write_text((person.at / "solve.py").read_text() + "# better\n")
    person.run("git", "commit", "-qam", "better")
    person.hive("push")
    said = person.hive("run", "submit", "-m", "Better. By far.", "--parent", "none", "--score", "0.99")
    assert "pending verification" in said
    desk.work(lambda *_: 0.75)
    shown = person.hive("run", "list")
    assert "0.7500" in shown and "0.99" not in shown and "verified" in shown
    sha = person.run("git", "rev-parse", "HEAD").strip()
    assert "fork--labels--ann.git" in person.hive("run", "view", sha[:10])
    assert "already" not in person.hive("run", "submit", "-m", "Again.", "--parent", "none"), "said twice it is one run"
    context = person.hive("task", "context")
    assert "2 runs" in context and "0.7500" in context


def test_what_people_say_to_each_other(scene):
    _, person = scene
    person.hive("auth", "register", "--name", "ann")
    person.environment["HIVE_TASK"] = "labels"
    person.hive("feed", "post", "the labels repeat")
    person.hive("feed", "claim", "trying a table")
    person.hive("feed", "comment", "1", "what is this?")
    person.hive("feed", "vote", "1", "--up")
    assert "what is this?" in person.hive("feed", "view", "1")
    assert "the labels repeat" in person.hive("search", "labels repeat")
    assert "trying a table" in person.hive("task", "context")
    (person.home / "table.py").write_text("TABLE = {}\n")
    person.hive("skill", "add", "--name", "table", "--description", "look it up", "--file", "table.py")
    assert "TABLE" in person.hive("skill", "view", "1") and "look it up" in person.hive("skill", "search", "look")


@pytest.mark.slow
def test_items_views_and_swarms(scene):
    desk, person = scene
    person.hive("auth", "register", "--name", "ann")
    person.environment["HIVE_TASK"] = "labels"
    for view in ("best_runs", "contributors", "deltas", "improvers"):
        person.hive("run", "list", "--view", view)
    assert "LABELS-1" in person.hive("item", "create", "-t", "Sort them", "-l", "idea")
    person.hive("item", "assign", "LABELS-1")
    person.hive("item", "comment", "LABELS-1", "begun")
    assert "Sort them" in person.hive("item", "mine") and "begun" in person.hive("item", "view", "LABELS-1")
    person.hive("item", "update", "LABELS-1", "--status", "review")
    person.hive("item", "uncomment", "LABELS-1", "1")
    person.hive("item", "delete", "LABELS-1")
    assert "LABELS-1" not in person.hive("item", "list")
    key, _ = desk.user("user")
    said = subprocess.run(
        [HIVE, "auth", "login"], input=key + "\n", env=person.environment, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0 and "a user" in said.stdout
    told = person.hive(
        "swarm", "up", "labels", "-n", "2", "--stagger", "0", "--command", "hive feed post here", "--prefix", "s"
    )
    assert "s-1" in told and (person.home / "hive-swarm" / "labels" / "s-2" / "program.md").exists()
    person.hive("swarm", "stop", "labels")
    assert "unknown" not in person.hive("task", "clone", "nothing", fails=True)
