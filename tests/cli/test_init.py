import re

import pytest


def test_what_init_writes_runs_is_measured_shown_and_judged_again(tmp_path, monkeypatch, answered, tiny_words):
    folder = tmp_path / "mine"
    found = answered("init", folder)
    assert {p.rpartition("/")[2] for p in found["files"]} == {
        "README.md", "my_agent.py", "my_reward.py", "my_tasks.py", "tasks.jsonl",
    }  # fmt: skip
    monkeypatch.chdir(folder)
    words = ("source=my_tasks:Minutes()", "world=my_agent:TOOLS")
    made = answered("run", *words, "workflow=my_agent:agent", "out=runs/mine", *tiny_words)
    assert made["cold_start"]["share_with_tool"] > 0.2
    assert made["levels"][0]["family"] == "minutes"
    again = answered("eval", "runs/mine", "num_tasks=2")
    assert again["source"]["is"] == "my_tasks:Minutes"
    assert answered("play", "runs/mine", "2h35+1h10?")["exchanges"]
    assert answered("rescore", "runs/mine", "reward=exact")["num_episodes"] > 0


def test_the_file_of_tasks_runs_with_the_reward_beside_it(tmp_path, monkeypatch, answered, tiny_words):
    answered("init", tmp_path / "mine")
    monkeypatch.chdir(tmp_path / "mine")
    words = ("source=tasks.jsonl", "reward=my_reward:close", "world=my_agent:TOOLS")
    assert answered("run", *words, "out=runs/file", *tiny_words)["levels"][0]["family"] == "tasks"


def test_every_command_of_the_readme_is_read(tmp_path, monkeypatch, told):
    told("init", tmp_path / "mine")
    monkeypatch.chdir(tmp_path / "mine")
    lines = re.findall(r"^evolvent (run .*)$", (tmp_path / "mine" / "README.md").read_text(), re.MULTILINE)
    assert len(lines) == 4
    for line in lines:
        words = [w.strip('"') for w in line.replace("PATH", "nano").split()]
        status, _, err = told(*words, *(["--dry-run"] if "--dry-run" not in words else []))
        assert status == 0, err


@pytest.mark.parametrize("name", ["my_tasks.py", "README.md"])
def test_nothing_is_overwritten(tmp_path, refused, name):
    (tmp_path / name).write_text("mine")
    message = refused("init", tmp_path)
    assert name in message
    assert (tmp_path / name).read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_file_in_the_place_of_the_folder_is_said(tmp_path, refused):
    (tmp_path / "mine").write_text("")
    assert "a file has this name" in refused("init", tmp_path / "mine", status=1)
