import json
import os
from pathlib import Path

import pytest

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput
from evolvent.records import ToolCall, said
from evolvent.tasks import Dataset, Source

SHARED = Path(__file__).resolve().parents[2] / "../shared/data"


def written(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def all_tasks(source: Dataset) -> list:
    family = source.families[0]
    return [
        source.task(family, level, index, split)
        for level in source.levels(family)
        for split in ("train", "test")
        for index in range(source.num_tasks(family, level, split))
    ]


def test_rows_become_tasks_in_the_order_of_the_file(tmp_path):
    path = written(tmp_path / "sums.jsonl", [{"prompt": f"{i}+1", "answer": str(i + 1)} for i in range(80)])
    source = Dataset(path)
    assert isinstance(source, Source)
    assert source.families == ("sums",)
    assert source.levels("sums") == (1,)
    train = [source.task("sums", 1, i) for i in range(source.num_tasks("sums", 1, "train"))]
    numbers = [int(task.private.answer) for task in train]
    assert numbers == sorted(numbers)
    assert train[0].prompt == (said("user", f"{numbers[0] - 1}+1"),)
    assert train[0].judge.path == "evolvent.rewards.verify:numeric"
    assert {task.task_id for task in all_tasks(source)} == {f"sums-{number}" for number in range(1, 81)}
    assert len({task.question for task in all_tasks(source)}) == 80
    assert from_json(to_json(source)) == source


def test_jsonl_json_and_parquet_give_the_same_tasks(tmp_path):
    import duckdb

    rows = [{"prompt": f"say {i}", "answer": f"word {i}", "level": 1 + i % 3} for i in range(30)]
    lines = written(tmp_path / "words.jsonl", rows)
    (tmp_path / "words.json").write_text(json.dumps(rows))
    duckdb.connect().execute(f"COPY (SELECT * FROM read_json('{lines}')) TO '{tmp_path}/words.parquet'")
    questions = [
        [(t.question, t.private.answer, t.level, t.split) for t in all_tasks(Dataset(str(tmp_path / f"words{ending}")))]
        for ending in (".jsonl", ".json", ".parquet")
    ]
    assert questions[0] == questions[1] == questions[2]
    assert Dataset(lines).levels("words") == (1, 2, 3)
    assert all_tasks(Dataset(lines))[0].judge.path == "evolvent.rewards.verify:exact"


def test_conversations_tools_and_info_are_kept(tmp_path):
    tools = [{"type": "function", "function": {"name": "calc"}}]
    call = {"function": {"name": "calc", "arguments": '{"expression": "6*7"}'}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "6*7?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "42"},
        {"role": "assistant", "content": "42"},
    ]
    row = {"messages": messages, "answer": 42, "tools": tools, "info": {"from": "a test"}, "split": "train"}
    task = all_tasks(Dataset(written(tmp_path / "talk.jsonl", [row])))[0]
    assert task.prompt == (said("system", "Be brief."), said("user", "6*7?"))
    assert task.private.answer == "42"
    assert task.private.solution[0].calls == (ToolCall("calc", {"expression": "6*7"}),)
    assert task.private.solution[1] == said("assistant", "42")
    assert task.private.data == {"tools": tools, "info": {"from": "a test"}}
    assert from_json(to_json(task)).prompt == task.prompt


def test_the_answer_after_four_hashes_counts_and_the_text_is_the_solution(tmp_path):
    row = {"question": "6*7?", "answer": "Six sevens.\n#### 42", "split": "train"}
    task = all_tasks(Dataset(written(tmp_path / "worked.jsonl", [row])))[0]
    assert task.private.answer == "42"
    assert task.private.solution == (said("assistant", "Six sevens.\n#### 42"),)


def test_other_column_names_follow_the_written_rule(tmp_path):
    rows = [{"problem": "1+1", "solution": "2"}, {"input": "1+2", "output": "3"}, {"question": "q", "solution": "w\nv"}]
    path = written(tmp_path / "other.jsonl", rows[:2])
    assert {task.private.answer for task in all_tasks(Dataset(path))} == {"2", "3"}
    with pytest.raises(BadInput, match=r"(?s)solution does not say.*row 3.*####.*`answer`"):
        Dataset(written(tmp_path / "bad.jsonl", rows)).levels("bad")


def test_a_row_without_answer_says_file_row_columns_and_cure(tmp_path):
    rows = [{"prompt": "a", "answer": "b"}, {"prompt": "c", "note": "d"}]
    path = written(tmp_path / "holes.jsonl", rows)
    with pytest.raises(BadInput) as caught:
        Dataset(path).levels("holes")
    message = str(caught.value)
    for part in ("a row has no answer", f"{path}, row 2", "columns prompt, note", "wanted:", "cure:"):
        assert part in message


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"prompt": "a", "answer": "b"}\n{"prompt": "c", "ans', "broken JSON"),
        ('{"answer": "b"}', "has no prompt"),
        ('{"prompt": "", "answer": "b"}', "has no prompt"),
        ('{"prompt": "a", "answer": null}', "has no answer"),
        ('{"prompt": "a", "answer": ["b"]}', "not a text or a number"),
        ('{"prompt": [{"role": "assistant", "content": "a"}], "answer": "b"}', "not a conversation"),
        ('{"prompt": {"a": 1}, "answer": "b"}', "not a conversation"),
        ('{"prompt": "a", "answer": "b", "split": "dev"}', "unknown split"),
        ('{"prompt": "a", "answer": "b", "level": "hard"}', "unknown level"),
        ('{"prompt": "a", "answer": "b", "split": "test"}\n{"prompt": "a", "answer": "b", "split": "train"}', "both"),
        ("7", "not an object"),
        ("", "no rows"),
    ],
)
def test_a_broken_file_is_refused_with_the_place(tmp_path, text, what):
    path = tmp_path / "broken.jsonl"
    path.write_text(text)
    with pytest.raises(BadInput, match=what) as caught:
        Dataset(str(path)).levels("broken")
    assert "broken.jsonl" in str(caught.value)


def test_a_missing_file_an_unknown_ending_and_false_parquet_are_refused(tmp_path):
    with pytest.raises(BadInput, match="cannot be read"):
        Dataset(str(tmp_path / "none.jsonl")).levels("none")
    (tmp_path / "a.csv").write_text("a,b")
    with pytest.raises(BadInput, match="unknown kind"):
        Dataset(str(tmp_path / "a.csv")).levels("a")
    (tmp_path / "a.parquet").write_text("no")
    with pytest.raises(BadInput, match="not a Parquet file"):
        Dataset(str(tmp_path / "a.parquet")).levels("a")
    with pytest.raises(BadInput, match="test_frac"):
        Dataset("x.jsonl", test_frac=2.0)


def test_an_index_outside_the_cell_is_refused(tmp_path):
    path = written(tmp_path / "one.jsonl", [{"prompt": "a", "answer": "b", "split": "train"}])
    assert Dataset(path).num_tasks("one", 1, "test") == 0
    with pytest.raises(BadInput, match="no task 1"):
        Dataset(path).task("one", 1, 1)
    with pytest.raises(BadInput, match="no task 0"):
        Dataset(path).task("two", 1, 0)


def test_the_share_for_testing_is_a_choice_and_a_judge_too(tmp_path):
    path = written(tmp_path / "many.jsonl", [{"prompt": f"{i}", "answer": "b"} for i in range(400)])
    assert Dataset(path, test_frac=0.0).num_tasks("many", 1, "test") == 0
    assert Dataset(path, test_frac=1.0).num_tasks("many", 1, "test") == 400
    assert 20 < Dataset(path).num_tasks("many", 1, "test") < 90
    assert Dataset(path, judge="a.b:c").task("many", 1, 0).judge.path == "a.b:c"


def test_a_rewritten_file_is_read_again(tmp_path):
    path = written(tmp_path / "new.jsonl", [{"prompt": "a", "answer": "b", "split": "train"}])
    assert Dataset(path).task("new", 1, 0).private.answer == "b"
    written(tmp_path / "new.jsonl", [{"prompt": "a", "answer": "c", "split": "train"}])
    os.utime(path, ns=(1, 1))
    assert Dataset(path).task("new", 1, 0).private.answer == "c"


@pytest.mark.parametrize(
    ("name", "num_tasks", "judge"),
    [("gsm8k-test.jsonl", 1319, "numeric"), ("math500.json", 500, "exact"), ("aime24.jsonl", 30, "numeric")],
)
def test_known_data_sets_load_whole_and_accept_their_own_answers(name, num_tasks, judge):
    if not (SHARED / name).exists():
        pytest.skip(f"{name} is not here")
    tasks = all_tasks(Dataset(str(SHARED / name)))
    assert len(tasks) == num_tasks
    for task in tasks:
        assert task.judge.path == f"evolvent.rewards.verify:{judge}"
        assert task.judge.load()(task, task.private.answer).value == 1.0, task
        assert task.judge.load()(task, task.private.solution[-1].text).value == 1.0, task
