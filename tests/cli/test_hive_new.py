import json

import pytest

from evolvent.cli import hive_new
from evolvent.cli.main import Command
from evolvent.errors import BadInput


def new(*words, seed=None, as_json=True, **fields):
    command = Command("hive", ("new", *map(str, words)), fields, as_json, seed, None, False, False, 8000)
    return hive_new.main(command, tuple(map(str, words)))


def test_a_new_folder_is_written_and_proven_and_later_only_proven(tmp_path, capsys):
    made = new(tmp_path / "My_Task", seed=3, metric="fit", direction="minimize")
    assert made["holds"] and "exit" not in made and len(made["checks"]) == 10
    assert (made["name"], made["metric"], made["direction"]) == ("my-task", "fit", "minimize")
    assert sorted(made["written"]) == sorted(
        p.relative_to(tmp_path / "My_Task").as_posix() for p in (tmp_path / "My_Task").rglob("*") if p.is_file()
    )
    before = {path: path.read_bytes() for path in (tmp_path / "My_Task").rglob("*") if path.is_file()}
    again = new(tmp_path / "My_Task")
    assert again["written"] == [] and again["digest"] == made["digest"] and again["checks"] == made["checks"]
    assert before == {path: path.read_bytes() for path in (tmp_path / "My_Task").rglob("*") if path.is_file()}
    json.dumps(again, allow_nan=False)
    assert capsys.readouterr().out == "", "with --json stdout belongs to the answer"


def test_what_a_person_sees_is_an_aligned_table_with_the_verdict_below(tmp_path, capsys):
    new(tmp_path / "here", as_json=False)
    (tmp_path / "here" / "public" / "params.json").write_text('{"neighbours": 0, "power": 1}')
    answer = new(tmp_path / "here", as_json=False)
    assert answer["exit"] == 1 and not answer["holds"]
    first, second = capsys.readouterr().out.split("\ncheck ")[1:]
    assert "every check passed: here, score, maximize" in first and "prove it again: evolvent hive new" in first
    assert f"evolvent hive open {tmp_path / 'here'} hub=URL key_file=FILE" in first and "hive open" not in second
    rows = [line for line in first.splitlines() if "  passed  " in line]
    assert len(rows) == 10 and len({line.index("  passed  ") for line in rows}) == 1, first
    assert "3 of 3 checks failed: here" in second and "mend it, and try again" in second


def test_a_field_without_effect_is_refused(tmp_path):
    new(tmp_path / "here")
    with pytest.raises(BadInput, match="metric= has no effect on a task that is there already"):
        new(tmp_path / "here", metric="other")


@pytest.mark.parametrize(
    ("words", "fields", "why"),
    [
        ((), {}, "one folder is asked for"),
        (("a", "b"), {}, "one folder is asked for"),
        (("a",), {"diretcion": "minimize"}, "did you mean direction"),
        (("a",), {"direction": "up"}, "no such direction"),
        (("a",), {"name": "No"}, "no name of a task"),
        (("a",), {"metric": "x y"}, "no name of a metric"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_written(tmp_path, monkeypatch, words, fields, why):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=why):
        new(*words, **fields)
    assert not list(tmp_path.iterdir())


def test_a_file_or_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("mine")
    for name in ("file", "full"):
        with pytest.raises(BadInput, match="nothing is overwritten"):
            new(tmp_path / name)
    assert (tmp_path / "file").read_text() == (tmp_path / "full" / "note").read_text() == "mine"


def test_a_wrong_key_in_a_task_is_said_with_its_cure(tmp_path):
    new(tmp_path / "here")
    config = tmp_path / "here" / "task.toml"
    config.write_text("budgt = 1\n" + config.read_text())
    with pytest.raises(BadInput, match="did you mean budget"):
        new(tmp_path / "here")
