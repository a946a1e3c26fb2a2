import os
import subprocess
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.errors import BadInput
from evolvent.tasks.formats import HarborTask, read_task, task_folders, write_task
from evolvent.tasks.formats.toml import to_toml

TOML = b"""# a comment that nobody reads
schema_version = "1.4"
odd = { of = "the future", list = [1, 2.5, "x"] }

[task]
name = "org/two-words"

[agent]
timeout_sec = 12.5

[environment]
network_mode = "no-network"
some_field_of_1_9 = true
"""
FILES = {
    "task.toml": TOML,
    "instruction.md": b"Do it.\n",
    "environment/Dockerfile": b"FROM debian:12\nWORKDIR /app\n",
    "tests/test.sh": b"#!/bin/bash\n",
    "tests/data.bin": bytes(range(256)),
    "solution/solve.sh": b"true\n",
    "notes/unknown.txt": b"kept\n",
}


def task(**changes):
    return HarborTask({**FILES, **changes}, frozenset({"tests/test.sh"}), "here")


def test_what_was_read_is_written_back_byte_for_byte(tmp_path):
    write_task(tmp_path / "a", task())
    read = read_task(tmp_path / "a")
    assert dict(read.files) == FILES
    assert read.executables == {"tests/test.sh"}
    write_task(tmp_path / "b", read)
    assert read_task(tmp_path / "b").digest == read.digest == task().digest
    assert read.config["odd"] == {"of": "the future", "list": [1, 2.5, "x"]}
    assert read.config["environment"]["some_field_of_1_9"] is True


def test_fields_say_what_the_task_is():
    made = task()
    assert (made.name, made.instruction, made.agent_s, made.verifier_s) == ("org/two-words", "Do it.", 12.5, 600.0)
    assert made.network_modes == {"environment": "no-network"}
    assert set(made.below("tests")) == {"test.sh", "data.bin"}


@pytest.mark.parametrize(
    ("toml", "modes"),
    [
        (b"", {"environment": "public"}),
        (b"[environment]\nallow_internet = false", {"environment": "no-network"}),
        (
            b'[agent]\nnetwork_mode = "public"\n[environment]\nnetwork_mode = "no-network"',
            {"environment": "no-network", "agent": "public"},
        ),
    ],
)
def test_a_task_that_says_nothing_of_the_network_wants_it(toml, modes):
    assert task(**{"task.toml": toml}).network_modes == modes


def test_the_digest_sees_bytes_names_and_rights():
    digests = {
        task().digest,
        task(**{"notes/unknown.txt": b"kept"}).digest,
        task(**{"notes/another.txt": b""}).digest,
        HarborTask(FILES, frozenset(), "here").digest,
    }
    assert len(digests) == 4
    assert HarborTask(FILES, frozenset({"tests/test.sh"}), "elsewhere").digest == task().digest


def test_steps_keep_their_least_rewards(tmp_path):
    config = {
        **tomllib.loads(TOML.decode()),
        "steps": [
            {"name": "first", "min_reward": 0.5},
            {"name": "second", "min_reward": {"reward": 1.0, "style": 0.2}, "agent": {"timeout_sec": 5.0}},
        ],
    }
    words = {f"steps/{n}/instruction.md": f"Do {n}.\n".encode() for n in ("first", "second")}
    tests = {f"steps/{n}/tests/test.sh": b"true\n" for n in ("first", "second")}
    made = task(**words, **tests).with_config(config)
    write_task(tmp_path / "t", made)
    first, second = read_task(tmp_path / "t").steps
    assert (first.name, first.instruction, first.min_reward) == ("first", "Do first.", 0.5)
    assert second.min_reward == {"reward": 1.0, "style": 0.2}
    assert read_task(tmp_path / "t").config == config
    assert first.is_passed({"reward": 0.5})
    assert not first.is_passed({"reward": 0.4})
    assert not first.is_passed({})
    assert second.is_passed({"reward": 1.0, "style": 0.2})
    assert not second.is_passed({"reward": 1.0})


@pytest.mark.parametrize("lost", ["task.toml", "instruction.md", "tests/test.sh"])
def test_a_folder_that_lacks_a_file_says_which(tmp_path, lost):
    write_task(tmp_path / "t", task())
    (tmp_path / "t" / lost).unlink()
    with pytest.raises(BadInput, match=lost):
        read_task(tmp_path / "t")


def test_links_and_broken_toml_are_refused(tmp_path):
    write_task(tmp_path / "t", task())
    (tmp_path / "t" / "environment" / "secret").symlink_to("/etc/passwd")
    with pytest.raises(BadInput, match=r"environment/secret"):
        read_task(tmp_path / "t")
    with pytest.raises(BadInput, match=r"task\.toml cannot be read"):
        _ = task(**{"task.toml": b"= 3"}).config
    with pytest.raises(BadInput, match="below its task"):
        write_task(tmp_path / "u", task(**{"../out": b""}))


def test_a_task_that_changed_on_disk_is_noticed(tmp_path):
    write_task(tmp_path / "t", task())
    assert read_task(tmp_path / "t", task().digest).name == "org/two-words"
    (tmp_path / "t" / "tests" / "test.sh").write_text("exit 0\n")
    with pytest.raises(BadInput, match="changed on disk"):
        read_task(tmp_path / "t", task().digest)


def test_folders_of_folders_are_found_in_order(tmp_path):
    for name in ("b", "a", "deep/c", ".hidden"):
        write_task(tmp_path / name, task())
    assert [p.name for p in task_folders(tmp_path)] == ["a", "b", "c"]
    assert task_folders(tmp_path / "a") == [tmp_path / "a"]
    with pytest.raises(BadInput, match="no Harbor task"):
        task_folders(tmp_path / "a" / "tests")


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
plain = st.one_of(texts, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))
values = st.recursive(plain, lambda v: st.lists(v, max_size=3) | st.dictionaries(texts, v, max_size=3), max_leaves=12)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(texts, values, max_size=5))
def test_toml_is_read_back_as_it_was(table):
    assert tomllib.loads(to_toml(table)) == table


def test_what_has_no_form_in_toml_is_refused_with_its_place():
    with pytest.raises(BadInput, match=r"a\.b"):
        to_toml({"a": {"b": [object()]}})
    assert tomllib.loads(to_toml({"a": None, "b": {"c": None}})) == {"b": {}}


@pytest.mark.skipif("EVOLVENT_HARBOR_PYTHON" not in os.environ, reason="no Python with harbor named")
def test_harbor_itself_reads_what_is_written(tmp_path):
    from evolvent.synthesis.terminal_tasks import FAMILIES, make

    for family in FAMILIES:
        write_task(tmp_path / family, make(family, 1, 0, "test"))
    script = (
        "import pathlib, sys\nfrom harbor.models.task.config import TaskConfig\n"
        "for p in sorted(pathlib.Path(sys.argv[1]).glob('*/task.toml')):\n"
        "    c = TaskConfig.model_validate_toml(p.read_text())\n"
        "    assert c.schema_version == '1.4' and c.environment.network_mode.value == 'no-network', c\n"
    )
    subprocess.run([os.environ["EVOLVENT_HARBOR_PYTHON"], "-c", script, str(tmp_path)], check=True)
