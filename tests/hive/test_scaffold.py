import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.errors import BadInput
from evolvent.hive.scaffold import Wish, is_task, name_after, read_metric, starter_files, try_task, write_starter
from evolvent.hive.sealed import Bench
from evolvent.hive.task_folder import NEEDED, OPTIONAL, Shelf, build_task, read_task
from evolvent.tasks.formats.toml import to_toml

WISH = Wish("curve", "closeness", "maximize", secret=5)
BOTH = ("maximize", "minimize")
TABLE = tomllib.loads(starter_files(WISH)["task.toml"].decode())


@pytest.fixture
def bench(tmp_path):
    return Bench(Shelf(tmp_path / "shelf"))


def altered(**files):
    """The starter with other files, by path with _ for /."""
    names = {re.sub(r"[/.]", "_", path): path for path in starter_files(WISH)}
    return build_task({**starter_files(WISH), **{names[k]: v.encode() for k, v in files.items()}}, "here")


def failed(task, bench):
    return {check.name: check.seen for check in try_task(task, bench) if not check.passed}


@pytest.mark.parametrize("direction", BOTH)
def test_what_is_written_is_a_task_that_passes_every_check(tmp_path, bench, direction):
    write_starter(tmp_path / "new", replace(WISH, direction=direction))
    task = read_task(tmp_path / "new")
    assert (task.name, task.metric, task.direction) == ("curve", "closeness", direction)
    checks = try_task(task, bench)
    assert len(checks) == 10 and not [check for check in checks if not check.passed], checks
    assert (tmp_path / "new" / "sealed").stat().st_mode & 0o077 == 0, "others may not look at what is sealed"


@pytest.mark.parametrize("direction", BOTH)
def test_there_is_something_to_find_in_it(bench, direction):
    task = build_task(starter_files(replace(WISH, direction=direction)), "here")
    digest, better = bench.shelf.put(task), json.dumps({"neighbours": 4, "power": 1.0}).encode()
    old = bench.measure_files(digest, task.baseline).value
    new = bench.measure_files(digest, {**task.baseline, "params.json": better}).value
    assert (new - old) * task.direction.sign > 0.02, f"four neighbours have {new}, one has {old}"


def test_each_secret_draws_seeds_of_its_own_and_the_rest_is_the_same():
    one, other = starter_files(WISH), starter_files(replace(WISH, secret=6))
    assert [path for path in one if one[path] != other[path]] == ["task.toml"]
    seeds = [tomllib.loads(files["task.toml"].decode()) for files in (one, other)]
    assert not set(seeds[0]["seeds"] + seeds[0]["holdout_seeds"]) & set(seeds[1]["seeds"] + seeds[1]["holdout_seeds"])
    assert not any(b"@" in data for data in one.values()), "a mark was not filled in"


@pytest.mark.parametrize(
    ("files", "name", "why"),
    [
        ({"public_eval_check_py": "print('closeness = 0.5')"}, "eval/eval.sh prints closeness", "no line `closeness: "),
        ({"public_eval_check_py": "print('closeness: much')"}, "eval/eval.sh prints closeness", "no line `closeness: "),
        ({"public_eval_check_py": "1 / 0"}, "eval/eval.sh prints closeness", "ZeroDivisionError"),
        ({"public_params_json": '{"neighbours": 99, "power": 1.0}'}, "space.json holds the baseline", "no point of it"),
        ({"public_space_json": '{"file": "params.json"}'}, "space.json holds the baseline", "a file and params"),
        (
            {"public_space_json": '{"file": "program.md", "params": {"a": {"kind": "bool"}}}'},
            "space.json holds the baseline",
            "no file at a mutable path",
        ),
    ],
)
def test_what_agents_and_searchers_would_stumble_over_is_seen(bench, files, name, why):
    found = failed(altered(**files), bench)
    assert list(found) == [name] and why in found[name], found


def test_a_scorer_that_believes_what_it_reads_does_not_pass(bench):
    score = starter_files(WISH)["sealed/score.py"].decode()
    gullible = score.replace("worth(truth, read_json(predictions))", "0.7")
    assert gullible != score
    assert "7" in (seen := failed(altered(sealed_score_py=gullible), bench)["forged predictions are invalid"]), seen


def test_an_evaluation_that_cannot_be_tried_here_is_said_and_is_no_fault(bench):
    told = "import sys\nprint('error: it needs a GPU', file=sys.stderr)\nraise SystemExit(77)"
    checks = {check.name: check for check in try_task(altered(public_eval_check_py=told), bench)}
    assert checks["eval/eval.sh prints closeness"].passed
    assert checks["eval/eval.sh prints closeness"].seen == "not tried: error: it needs a GPU"


def test_a_task_without_evaluation_and_space_is_proven_as_far_as_it_goes(bench):
    files = {p: d for p, d in starter_files(WISH).items() if p not in ("public/space.json", "public/eval/eval.sh")}
    checks = try_task(build_task(files, "here"), bench)
    assert len(checks) == 8 and all(check.passed for check in checks)


@pytest.mark.parametrize("path", ["note.md", "public/program.md", ".git/HEAD"])
def test_nothing_that_stands_there_is_overwritten(tmp_path, path):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text("mine")
    with pytest.raises(BadInput, match="something is here already"):
        write_starter(tmp_path, WISH)
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()] == [path]
    assert (tmp_path / path).read_text() == "mine" and not is_task(tmp_path)


@pytest.mark.parametrize("name", ["X", "a", "two--hyphens", "a" * 21, "", 'quote"', "new\nline"])
def test_a_name_that_no_task_may_have_writes_nothing(tmp_path, name):
    with pytest.raises(BadInput):
        write_starter(tmp_path / "new", replace(WISH, name=name))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("metric", ["", "Score", "two words", 'quo"te', "a:b", "1st", "a" * 41])
def test_a_metric_that_could_not_be_read_from_a_line_is_refused(metric):
    with pytest.raises(BadInput, match="no name of a metric"):
        replace(WISH, metric=metric)


@given(st.text(max_size=40))
def test_any_folder_gives_a_name_that_a_task_may_have(text):
    build_task(starter_files(replace(WISH, name=name_after(Path("/tmp") / text.replace("/", "")))), "here")


@pytest.mark.parametrize(("folder", "name"), [("My Task_2", "my-task-2"), ("é", "my-task"), ("a" * 30, "a" * 20)])
def test_the_name_is_that_of_the_folder_as_far_as_it_may_be(folder, name):
    assert name_after(Path("/x") / folder) == name


@pytest.mark.parametrize(
    ("printed", "value"),
    [
        ("fill: 0.5\n---\nfill: 0.25\n", 0.25),
        ("refill: 1\n", None),
        ("fill: x\n", None),
        ("", None),
        ("fill: -1e-3", -1e-3),
    ],
)
def test_the_last_line_of_a_metric_counts(printed, value):
    assert read_metric(printed, "fill") == value


STRANGE = [5, -1, 1.5, True, "", "\0", [], [5], [""], ["x", "x"], {"a": 1}, [1.5], [True], [[1]], float("nan")]


@pytest.mark.parametrize("key", [*NEEDED, *OPTIONAL, "seed", *(f"budget.{name}" for name in TABLE["budget"])])
def test_whatever_stands_behind_a_key_it_is_taken_or_refused_by_name(key):
    outer, _, inner = key.partition(".")
    num_refused = 0
    for value in STRANGE:
        table = {**TABLE, outer: {**TABLE["budget"], inner: value} if inner else value}
        try:
            build_task({**starter_files(WISH), "task.toml": to_toml(table).encode()}, "here")
        except BadInput as error:
            assert str(error.where) == "here/task.toml" or outer in str(error.where), f"{key} = {value!r}: {error}"
            num_refused += 1
    assert num_refused >= len(STRANGE) - 3, f"{key} takes nearly anything"


@pytest.mark.parametrize(
    ("line", "cure"),
    [("metrc = 'x'", "did you mean metric"), ("seed = 3", "did you mean seeds"), ("rang = 1", "range")],
)
def test_a_wrong_key_is_answered_by_the_nearest_right_one(line, cure):
    files = starter_files(WISH)
    with pytest.raises(BadInput, match=cure):
        build_task({**files, "task.toml": line.encode() + b"\n" + files["task.toml"]}, "here")
