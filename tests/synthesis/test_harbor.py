import shutil

import pytest

from evolvent.codec import from_json, to_json
from evolvent.envs.sandbox import best
from evolvent.envs.shell import Shell
from evolvent.errors import BadInput
from evolvent.policies.scripted import Oracle
from evolvent.records import Sampling
from evolvent.rewards import by_task, judge_episodes
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import tool_loop
from evolvent.synthesis.harbor import HarborTasks, subject_of_folder, validate
from evolvent.synthesis.terminal_tasks import make
from evolvent.tasks.formats import HarborTask, write_task
from evolvent.tasks.formats.toml import to_toml

ENDLESS = Budgets(1 << 30, 1 << 30, 1 << 30)
TEST = """here=$(cd "$(dirname "$0")" && pwd)
grep -qx hello hello.txt && echo 1 > ${EVOLVENT_LOGS:-/logs/verifier}/reward.txt || exit 1
"""


def foreign(metadata, mode="no-network"):
    """A task of somebody else's, with words of theirs in task.toml."""
    config = {"schema_version": "1.3", "metadata": metadata, "environment": {"network_mode": mode, "cpus": 2}}
    files = {
        "task.toml": to_toml(config),
        "instruction.md": "Write hello to hello.txt.\n",
        "environment/Dockerfile": "FROM ubuntu:24.04\nWORKDIR /app\n",
        "tests/test.sh": TEST,
        "solution/solve.sh": "echo hello > hello.txt\n",
    }
    return HarborTask({path: told.encode() for path, told in files.items()}, where="foreign")


@pytest.fixture
def folder(tmp_path):
    write_task(tmp_path / "a", foreign({"category": "greetings", "difficulty": "hard", "split": "test"}))
    write_task(tmp_path / "b", foreign({"category": "greetings"}, mode="public"))
    write_task(tmp_path / "c", make("total", 2, 0))
    return tmp_path


def test_a_folder_of_folders_is_a_source_by_what_task_toml_says(folder):
    source = HarborTasks(str(folder))
    assert source.families == ("greetings", "total")
    assert source.levels("greetings") == (3,)
    assert source.num_tasks("greetings", 3, "test") == 1
    assert source.num_tasks("greetings", 3, "train") == 0
    assert source.task("total", 2, 0).level == 2
    assert source.refused == {str(folder / "b"): 'our sandbox has no network ([environment] network_mode = "public")'}
    assert from_json(to_json((source, Shell(timeout_s=3.0)))) == (source, Shell(timeout_s=3.0))
    with pytest.raises(BadInput, match="no such task"):
        source.task("total", 2, 1)
    with pytest.raises(BadInput, match="no such family"):
        source.levels("totals")


def test_tasks_of_a_folder_are_played_in_the_shell(folder):
    found = subject_of_folder(folder)
    source = found["source"]
    tasks = [source.task("greetings", 3, 0, "test"), source.task("total", 2, 0)]
    assert isinstance(found["world"], Shell)
    stage = Stage(
        tool_loop, found["world"], {"agent": Oracle.of(tasks)}, {"agent": "agent"}, Sampling(1 << 20), ENDLESS
    )
    episodes = judge_episodes(by_task, play([Attempt(task, 0) for task in tasks], stage))
    assert [e.traces[0].score.value for e in episodes] == [1.0, 1.0]


def test_a_task_that_changes_after_it_was_listed_is_not_played(folder):
    source = HarborTasks(str(folder))
    task = source.task("greetings", 3, 0, "test")
    (folder / "a" / "tests" / "test.sh").write_text("echo 1 > $EVOLVENT_LOGS/reward.txt")
    with pytest.raises(BadInput, match="changed on disk"):
        Shell().open(task, 0)


def test_oracle_and_nop_are_run_on_tasks_of_others(folder):
    shutil.rmtree(folder / "c")
    rows = validate(str(folder), best())
    by_task_hash = {}
    for row in rows:
        by_task_hash.setdefault(row.task_hash, []).append(row)
    fine, refused = by_task_hash.values()
    assert all(row.is_passed for row in fine)
    assert [row.reward for row in fine if row.kind == "nop"] == [0.0, 0.0]
    assert [(row.kind, row.is_passed) for row in refused] == [("room", False)]
    assert "no network" in refused[0].log


def test_one_broken_folder_does_not_hide_the_others(folder):
    (folder / "a" / "tests" / "link").symlink_to("/etc/passwd")
    (folder / "c" / "task.toml").write_text("= 1")
    write_task(folder / "d", foreign({"category": "greetings", "split": "train"}))
    source = HarborTasks(str(folder))
    assert source.families == ("greetings",)
    assert "plain files only" in source.refused[str(folder / "a")]
    assert "cannot be read" in source.refused[str(folder / "c")]


def test_a_folder_where_nothing_can_be_played_says_why(tmp_path):
    write_task(tmp_path / "b", foreign({}, mode="allowlist"))
    with pytest.raises(BadInput, match="allowlist"):
        _ = HarborTasks(str(tmp_path)).families
