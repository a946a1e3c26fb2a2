import json
import shutil

import pytest

from evolvent.store import Run


@pytest.fixture
def copied(tiny_run, tmp_path):
    path = tmp_path / "copied"
    shutil.copytree(tiny_run, path)
    return path


def test_a_run_is_told_whole(tiny_run, answered):
    found = answered("show", tiny_run)
    assert found["run"] == str(tiny_run.resolve())
    assert found["finished"] and found["step"] == found["num_steps"] == 8
    assert [row["level"] for row in found["levels"]] == [1, 2]
    assert len(found["curves"]["reward"]) == 2
    assert found["report"] == str(tiny_run / "report.html")
    assert found["faults"] == 0
    assert found["notes"] == []
    weak = found["weaknesses"][0]
    assert weak["example"]["question"].endswith("?")
    assert weak["example"]["wanted"]


def test_a_person_sees_curves_levels_weaknesses_and_the_verdict(tiny_run, told):
    status, out, _ = told("show", tiny_run)
    assert status == 0
    for words in ("reward", "held-out", "before", "weakest", "gates", "report.html", "no gain"):
        assert words in out


def test_a_torn_last_line_is_said_and_not_fatal(copied, answered):
    with (copied / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "acc')
    found = answered("show", copied)
    assert "half-written" in found["notes"][0]
    assert found["step"] == 8


def test_a_broken_line_before_others_is_an_error_that_names_it(copied, refused):
    lines = (copied / "metrics.jsonl").read_text().splitlines()
    lines[2] = '{"step": 3, "acc'
    (copied / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert "line 3 of metrics.jsonl is broken" in refused("show", copied, status=1)


def test_a_run_of_a_newer_version_is_left_alone(copied, refused):
    info = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps({**info, "schema": 99}))
    message = refused("show", copied, status=1)
    assert "newer version" in message
    assert "pip install --upgrade evolvent" in message


def test_a_folder_that_is_no_run_says_what_is_missing(tmp_path, refused):
    assert "run.json and plan.json missing" in refused("show", tmp_path, status=1)


def test_an_unfinished_run_is_shown_as_far_as_it_got(copied, answered):
    (copied / "summary.json").unlink()
    for path in (copied / "reports").glob("*after*"):
        path.unlink()
    found = answered("show", copied)
    assert not found["finished"]
    assert "difference" not in found


def test_two_runs_stand_beside_each_other_on_the_same_tasks(tiny_run, copied, answered, told):
    found = answered("show", tiny_run, copied)
    assert found["beside"]["difference"]["value"] == 0.0
    assert [row["level"] for row in found["beside"]["levels"]] == [1, 2]
    assert found["control"] == str(copied.resolve())
    assert "verdict" in found
    assert "minus copied" in told("show", tiny_run, copied)[1]


def test_a_run_that_has_not_ended_cannot_be_compared(tiny_run, copied, refused):
    for path in (copied / "reports").glob("*after*"):
        path.unlink()
    assert "has not ended" in refused("show", tiny_run, copied, status=1)


def test_showing_changes_nothing(tiny_run, told):
    before = {p: p.stat().st_mtime_ns for p in tiny_run.rglob("*")}
    told("show", tiny_run)
    assert {p: p.stat().st_mtime_ns for p in tiny_run.rglob("*")} == before
    assert Run.reopen(tiny_run).name == "tiny"
