import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EVOLVENT = Path(sys.executable).with_name("evolvent")


@pytest.fixture
def copied(tiny_run, tmp_path):
    path = tmp_path / "copied"
    shutil.copytree(tiny_run, path)
    return path


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(path, *found):
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return f"source={path}"


def test_unknown_recipe_field_and_family(refused, elsewhere):
    assert "did you mean circle" in refused("run", "circel")
    assert "no field" in refused("run", "nosuchfield=1")
    assert "did you mean chain" in refused("run", "source=chian")
    assert list(elsewhere.iterdir()) == []


def test_a_group_of_one(refused, elsewhere):
    message = refused("run", "group_size=1")
    assert "a group of 1 has no baseline" in message
    assert "cure:" in message
    assert list(elsewhere.iterdir()) == []


def test_a_data_set_row_without_answer_is_found_before_anything_is_written(refused, elsewhere):
    source = rows(elsewhere / "sums.jsonl", {"prompt": "1+1?", "answer": "2"}, {"prompt": "2+2?"})
    assert "sums.jsonl, row 2" in refused("run", source)
    assert [p.name for p in elsewhere.iterdir()] == ["sums.jsonl"]


def test_a_data_set_without_held_out_rows(refused, elsewhere):
    source = rows(elsewhere / "sums.jsonl", *({"prompt": f"{i}?", "answer": "2", "split": "train"} for i in range(4)))
    assert "no task to measure" in refused("run", source)
    assert "split=all" in refused("eval", "nano", source)


def long_rows(path, num_long):
    made = (
        {"prompt": f"{i} " + ("word " * 150 if i < num_long else ""), "answer": "1", "split": ("test", "train")[i % 2]}
        for i in range(8)
    )
    return rows(path, *made)


def test_prompts_longer_than_the_context_are_found_before_a_run_begins(refused, elsewhere, tiny_words):
    words = ("run", long_rows(elsewhere / "long.jsonl", 8), *tiny_words)
    assert "every prompt is longer than the context" in refused(*words)
    message = refused("run", long_rows(elsewhere / "long.jsonl", 2), *tiny_words)
    assert "long-2" in message
    assert "2 of 8 prompts" in message
    assert [p.name for p in elsewhere.iterdir()] == ["long.jsonl"]


def test_a_prompt_longer_than_the_context_is_an_error_of_an_evaluation(tiny_run, refused, elsewhere):
    message = refused("eval", tiny_run, long_rows(elsewhere / "long.jsonl", 8))
    assert "longer than the context" in message
    assert "task long-1" in message


def test_a_corrupted_checkpoint(copied, refused):
    weights = copied / "checkpoints" / "step-000008" / "agent" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    message = refused("eval", copied)
    assert "damaged" in message
    assert "model.safetensors" in message
    assert "step-000006" not in message
    weights.write_bytes(data[: len(data) // 2])
    assert "damaged" in refused("play", copied, "1+1?")


def test_a_run_without_a_checkpoint_yet(copied, refused):
    shutil.rmtree(copied / "checkpoints")
    (copied / "checkpoints").mkdir()
    assert "no checkpoint yet" in refused("eval", copied, status=1)


def test_a_half_written_metrics_line_is_dropped_on_resume(copied, told):
    whole = (copied / "metrics.jsonl").read_bytes()
    with (copied / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 9, "acc')
    status, _, err = told("run", "--resume", copied)
    assert status == 0, err
    assert (copied / "metrics.jsonl").read_bytes() == whole


def test_a_run_directory_of_a_newer_version(copied, refused):
    info = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps({**info, "schema": 99}))
    for words in (("eval", copied), ("run", "--resume", copied), ("rescore", copied, "reward=exact")):
        assert "newer version" in refused(*words, status=1)


def test_a_broken_plan(copied, refused):
    (copied / "plan.json").write_text('{"is": ')
    for words in (("eval", copied), ("run", "--resume", copied), ("show", copied)):
        assert "is broken" in refused(*words, status=1)


def test_a_model_without_chat_template(tiny_llama, tmp_path, refused):
    folder = tmp_path / "bare"
    shutil.copytree(tiny_llama, folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    assert "no chat template" in refused("eval", folder)
    assert "no chat template" in refused("run", f"model={folder}", "cold_start=null", f"out={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


def test_two_runs_in_one_directory(tiny_run, refused, tiny_words):
    before = sorted(p.name for p in tiny_run.rglob("*"))
    message = refused("run", *tiny_words, f"out={tiny_run}", status=1)
    assert "holds a run already" in message
    assert "--resume" in message
    assert sorted(p.name for p in tiny_run.rglob("*")) == before


def test_a_directory_that_another_process_writes_to(copied, refused):
    code = (
        "import sys, time; from evolvent.store import Run\n"
        "with Run.reopen(sys.argv[1]).lock():\n print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(copied)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        try:
            message = refused("run", "--resume", copied, status=1)
        finally:
            other.kill()
    assert f"process {other.pid}" in message


def test_no_space_ends_with_a_message_and_keeps_what_was_whole(tmp_path, tiny_words):
    """A limit on the size of a file stands for a full disk: the weights of the first checkpoint do not fit."""
    words = " ".join(tiny_words)
    command = f"ulimit -f 40; exec '{EVOLVENT}' run {words} out='{tmp_path / 'run'}' sinks=[]"
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 1, found.stderr
    assert found.stderr.startswith("error: "), found.stderr
    assert "ulimit -f" in found.stderr or "space" in found.stderr
    assert "Traceback" not in found.stderr
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []
    assert json.loads((tmp_path / "run" / "run.json").read_text())["schema"] == 1


def test_an_endpoint_cannot_be_trained(refused, tmp_path):
    message = refused("run", "model=http://127.0.0.1:9/v1#m", f"out={tmp_path / 'run'}", "cold_start=null")
    assert "cannot be trained" in message
    assert "evolvent eval" in message
