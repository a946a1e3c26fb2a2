import json

import pytest

from evolvent.cli import main

FEW = ("num_tasks=2", "num_attacked=1", "redraws=false")


def rows(answer):
    return {row["name"]: row for row in answer["checks"]}


def test_a_family_proves_itself_with_a_row_for_each_check(told):
    status, out, _ = told("check", "digits:1", *FEW)
    assert status == 0
    for words in (
        "oracle",
        "wrong answers are rejected",
        "passed",
        "not applicable",
        "nothing failed: 4 tasks of 1 cells",
    ):
        assert words in out


def test_the_answer_in_json_has_everything(answered):
    answer = answered("check", "digits:1", *FEW, "--seed", "3")
    assert (answer["holds"], answer["seed"], answer["num_tasks"]) == (True, 3, 4)
    assert set(rows(answer)["oracle"]) == {
        "name", "status", "asks", "cure", "num_tried", "num_failed", "num_warned", "numbers", "examples", "note",
    }  # fmt: skip


@pytest.fixture
def torn(tmp_path):
    """A file with two answers to one question."""
    path = tmp_path / "torn.jsonl"
    lines = [{"question": f"{i}+{i}?", "answer": str(2 * i)} for i in range(20, 60)]
    path.write_text("\n".join(map(json.dumps, [*lines, {"question": "20+20?", "answer": "41"}])))
    return path


def test_what_fails_is_shown_with_an_example_and_the_cure(told, torn):
    status, out, _ = told("check", torn, *FEW)
    assert status == 1
    assert "whole: drop one of the rows" in out
    assert "the same question as torn-1, another answer" in out
    assert "failed: 4 tasks of 1 cells, 1 of them flawed" in out


def test_a_report_is_kept_and_later_files_are_compared_with_it(told, torn, tmp_path):
    report = tmp_path / "report.json"
    told("check", torn, *FEW, f"out={report}")
    kept = json.loads(report.read_text())
    assert kept["flawed"] == {"torn-41": ["whole"]}
    torn.write_text(torn.read_text().rpartition("\n")[0])
    status, out, _ = told("check", torn, *FEW, f"against={report}")
    assert status == 1
    assert "torn.jsonl was changed" in out
    assert told("check", torn, *FEW)[0] == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("check",), "takes one SOURCE"),
        (("check", "chian"), "did you mean chain"),
        (("check", "chain", "num_taks=3"), "did you mean num_tasks"),
        (("check", "chain", "num_tasks=0"), "nothing to try"),
        (("check", "chain", "num_tasks=some"), "not a number"),
        (("check", "chain:1", "against=nowhere.json"), "not an earlier report"),
        (("check", "nowhere/"), "no source is called"),
    ],
)
def test_wrong_words_are_refused_with_a_cure(refused, words, says):
    assert says in refused(*words)


def test_a_folder_without_tasks_says_what_it_should_hold(refused, tmp_path):
    assert "task.toml" in refused("check", tmp_path)


def test_training_on_tasks_that_fail_is_refused_before_a_folder_is_made(refused, torn, tmp_path, tiny_words):
    lines = [{"question": f"{i}+{i}? The answer is {2 * i}.", "answer": str(2 * i)} for i in range(20, 60)]
    torn.write_text("\n".join(map(json.dumps, lines)))
    out = tmp_path / "run"
    said = refused("run", "sft", f"source={torn}", *tiny_words, f"out={out}")
    assert "the prompt announces the answer" in said
    assert "unproven=true" in said
    assert not out.exists()


@pytest.mark.slow
def test_many_families_are_checked_in_a_process_of_their_own_each(capsys, tmp_path):
    assert main(["check", "procedural:all", *FEW, f"out={tmp_path / 'all.json'}"]) == 0
    found = json.loads((tmp_path / "all.json").read_text())
    assert found["holds"] and len(found["families"]) > 10
    assert "families hold" in capsys.readouterr().out
