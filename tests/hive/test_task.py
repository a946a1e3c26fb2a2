import os

import pytest

from evolvent.errors import BadInput
from evolvent.hive.paths import check_agent, check_mutable
from evolvent.hive.task import CONFIG, Budget, Direction, digest_files
from evolvent.hive.task_folder import Shelf, read_task, reseal, write_task
from hive.forge import MARK, TASK, make_task


def test_a_folder_is_read_as_the_task_that_it_declares(tmp_path):
    task = make_task(tmp_path)
    assert (task.name, task.metric, task.direction) == ("labels", "accuracy", Direction.MAXIMIZE)
    assert task.mutable == ("solve.py", "lib") and task.command == ("python3", "solve.py")
    assert task.budget == Budget(
        evaluations=10, seconds=20, memory_mb=128, artifact_bytes=200_000, prediction_bytes=20_000, num_files=20
    )
    assert set(task.baseline) == {"solve.py"} and set(task.fixed) == {"program.md", "data.txt", "eval/eval.sh"}


def test_what_an_agent_is_told_holds_neither_seeds_nor_anything_sealed(tmp_path):
    task = make_task(tmp_path, TASK.replace(f'"{MARK}"', '"Label."'))
    told = str(task.tell()) + str(sorted(task.below("public").items()))
    assert MARK not in told and "seeds" not in str(task.tell()).replace("num_seeds", "")
    assert task.tell()["num_seeds"] == 1


def test_the_digest_names_every_byte_of_every_part_and_no_clock(tmp_path):
    task = make_task(tmp_path / "a")
    again = make_task(tmp_path / "b")
    os.utime(tmp_path / "b" / CONFIG, (0, 0))
    assert task.digest == again.digest
    for path in task.files:
        (tmp_path / "b" / path).write_bytes(task.files[path] + b"\n")
        assert read_task(tmp_path / "b").digest != task.digest, path
        (tmp_path / "b" / path).write_bytes(task.files[path])
    assert digest_files({"a": b"bc"}) != digest_files({"ab": b"c"})


def test_what_was_written_is_read_back_and_sealed_from_others(tmp_path):
    task = make_task(tmp_path / "a")
    write_task(task, tmp_path / "b")
    assert read_task(tmp_path / "b").digest == task.digest
    assert (tmp_path / "b" / "sealed").stat().st_mode & 0o077 == 0


def test_resealing_changes_the_seeds_and_nothing_else(tmp_path):
    task = make_task(tmp_path)
    one, two, other = reseal(task, 1), reseal(task, 1), reseal(task, 2)
    assert one.digest == two.digest != other.digest != task.digest
    assert set(one.seeds + one.holdout_seeds).isdisjoint(other.seeds + other.holdout_seeds)
    assert {p: d for p, d in one.files.items() if p != CONFIG} == {p: d for p, d in task.files.items() if p != CONFIG}
    shelf = Shelf(tmp_path / "shelf")
    assert shelf.take(shelf.put(one)).seeds == one.seeds


def test_the_shelf_gives_a_version_by_its_digest_or_not_at_all(tmp_path):
    shelf = Shelf(tmp_path / "shelf")
    task = make_task(tmp_path / "a")
    assert shelf.put(task) == shelf.put(task) == task.digest
    for digest in ("0" * 64, "../" + "a" * 61, task.digest.upper(), task.digest[:10], ""):
        with pytest.raises(BadInput, match="no task of this digest"):
            shelf.take(digest)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('"maximize"', '"up"', "no such direction"),
        ('direction = "maximize"', "", "direction is missing"),
        ("metric =", "metrik =", "did you mean metric"),
        ('["solve.py", "lib"]', '"solve.py"', "mutable is not a list"),
        ('["solve.py", "lib"]', "[]", "cannot be improved"),
        ('["solve.py", "lib"]', '["other.py"]', "no baseline"),
        ('["solve.py", "lib"]', '["solve.py", "solve.py"]', "named twice"),
        ('["solve.py", "lib"]', '["solve.py", "lib", "lib/a"]', "named twice"),
        ('["python3", "solve.py"]', "[]", "a command must be words"),
        ("seeds = [5]", "seeds = []", "needs seeds"),
        ("seeds = [5]", "seeds = [5, 5]", "needs seeds"),
        ("seeds = [5]", "seeds = [true]", "needs seeds"),
        ("seeds = [5]", "seeds = [6]", "the hold-out would ask"),
        ("range = [0.0, 1.0]", "range = [1.0, 0.0]", "two ends"),
        ("range = [0.0, 1.0]", "range = [0.0, nan]", "two ends"),
        ('"predictions.json"', '"inputs/p.json"', "lies among the inputs"),
        ('"predictions.json"', '"solve.py"', "lies among the inputs"),
        ('"predictions.json"', '"../p.json"', "leads out"),
        ("seeds = [5]", "seeds = [5]\ntimed = 2", "cannot be timed so"),
        ("seeds = [5]", "seeds = [5]\nexact = false\ntimed = 99", "cannot be timed so"),
        ("seeds = [5]", "seeds = [5]\nexact = false\ntimed = 2\nreplay = ['a']", "cannot be timed so"),
        ("seeds = [5]", "seeds = [5]\nexact = 1", "exact is no truth"),
        ("seeds = [5]", "seeds = [5]\nreplay = ['']", "a command must be words"),
        ("seeds = [5]", "seeds = [5]\nreplayed = '/x'", "is absolute"),
        ("seeds = [5]", "seeds = [5]\nabsent = ['gone.txt']", "nothing public is absent"),
        ("evaluations = 10", "evaluations = 0", "positive and finite"),
        ("evaluations = 10", "evaluations = true", "positive and finite"),
        ("seconds = 20", "seconds = inf", "positive and finite"),
        ("seconds = 20", "", "budget has no seconds"),
        ("memory_mb", "memory_gb", "did you mean memory_mb"),
        ("seconds = 20", "second = 20", "did you mean seconds"),
        ('name = "labels"', 'name = "La--bels"', "no name of a task"),
        ('metric = "accuracy"', 'metric = "bad name!"', "no name of a metric"),
        ("metric =", "metric = =", "not TOML"),
    ],
)
def test_a_declaration_that_is_wrong_says_what_and_where(tmp_path, old, new, match):
    assert old in TASK
    with pytest.raises(BadInput, match=match) as caught:
        make_task(tmp_path, TASK.replace(old, new, 1))
    assert caught.value.where, "an error names its place"


@pytest.mark.parametrize(
    "path",
    ["eval", "eval/eval.sh", "Eval", ".git", ".git/config", "src/.git", "prepare.sh", "prepare", "prepare/x", "..",
     "../x", "a/../b", "/etc/passwd", "", ".", "./solve.py", "a//b", "a\\b", "*.py", "src/[a]", "a\0b", "a\nb",
     ".hive", "program.md", "task.toml", "sealed", "holdout/x", "public", "inputs", "\uff45val", "ev\u200bal", "c:",
     "git~1", "x ", 7],
    ids=ascii,
)  # fmt: skip
def test_a_mutable_path_that_is_forbidden_or_a_trick_is_refused(path):
    with pytest.raises(BadInput, match="a mutable path"):
        check_mutable(["solve.py", path], "here")
    assert check_mutable(["src/", "train.py", "evaluation_notes.md"], "here")[0] == "src"


@pytest.mark.parametrize("name", ["a", "A-b", "a--b", "-ab", "ab-", "a" * 21, "a b", "\u0430lice", "alice\n", None])
def test_a_name_that_is_no_agents_is_refused(name):
    with pytest.raises(BadInput, match="no name of an agent"):
        check_agent(name)
    assert check_agent("al-1ce") == "al-1ce"


@pytest.mark.parametrize("kind", ["link", "folder link", "pipe", "stray", "missing scorer", "missing program", "empty"])
def test_a_folder_with_something_else_in_it_is_no_task(tmp_path, kind):
    home = tmp_path / "task"
    make_task(home)
    match = {"stray": "is none of", "pipe": "pipe", "empty": "task.toml is missing"}.get(kind, "link")
    if kind == "link":
        (home / "public" / "x").symlink_to("/etc/passwd")
    elif kind == "folder link":
        (home / "holdout").symlink_to(tmp_path)
    elif kind == "pipe":
        os.mkfifo(home / "public" / "x")
    elif kind == "stray":
        (home / "notes.txt").write_text("x")
    elif kind == "empty":
        (home / CONFIG).unlink()
    else:
        match = "is missing"
        (home / ("sealed/score.py" if "scorer" in kind else "public/program.md")).unlink()
    with pytest.raises(BadInput, match=match):
        read_task(home)
    with pytest.raises(BadInput, match="no folder of a task"):
        read_task(home / "nowhere")
