import pytest

from evolvent.hive.prove import prove
from evolvent.hive.shipped import names, shipped
from evolvent.hive.task_folder import reseal
from hive.forge import LABELS, PREDICT, SCORE, TASK, make_task


def failed(task, bench):
    return [check.name for check in prove(task, bench) if not check.passed]


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "packing" else pytest.mark.slow) for n in names()])
def test_every_task_that_ships_passes_its_own_proof(fresh, name):
    checks = prove(reseal(shipped(name), 3), fresh.bench)
    assert len(checks) == 8 and not [check for check in checks if not check.passed], checks


FAULTS = [
    (TASK, {"public/solve.py": "raise SystemExit(1)"}, "the baseline runs and is scored"),
    (TASK, {"sealed/score.py": SCORE.replace("rows = read_json(predictions)", "return 0.5")}, "forged predictions"),
    (TASK, {"public/solve.py": PREDICT + f"predict({LABELS})"}, "the baseline is neither at the floor nor at the"),
    (TASK, {"sealed/score.py": "def pose(seed, data): 1/0"}, "the scorer answers"),
]
MORE_FAULTS = [
    (TASK, {"public/solve.py": PREDICT + f"predict({[1 - x for x in LABELS]})"}, "the baseline is neither"),
    (TASK.replace("[5]", "[7, 8, 9, 10, 11, 12, 13]", 1), {
        "public/solve.py": PREDICT + "import os\npredict([b % 2 for b in os.urandom(10)])"}, "measured again"),
    (TASK, {"sealed/score.py": SCORE.replace("seed * 31", "0")}, "each seed asks something else"),
    (TASK, {"public/labels.json": "[1]", "sealed/labels.json": "[1]", "sealed/score.py": SCORE.replace(
        '(data / "labels.json").read_text()', f"'{{\"labels\": {LABELS}}}'")}, "nothing sealed is public"),
    (TASK.replace("seeds = [5]", "seeds = [123456789]", 1), {"public/note.md": "123456789"}, "nothing sealed"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("toml", "files", "name"), [*FAULTS, *(pytest.param(*fault, marks=pytest.mark.slow) for fault in MORE_FAULTS)]
)
def test_a_task_with_a_planted_fault_does_not_pass(fresh, tmp_path, toml, files, name):
    found = failed(make_task(tmp_path / "faulty", toml, files), fresh.bench)
    assert any(one.startswith(name) for one in found), found


def test_a_sound_task_passes_and_one_that_is_timed_need_not_repeat(fresh, tmp_path):
    # the second label is a coin: every time the sum is another, and the task says so
    coin = PREDICT + "import os\npredict([os.urandom(1)[0] % 2] + [1] * 9)"
    assert failed(fresh.task, fresh.bench) == []
    timed = make_task(tmp_path / "timed", "exact = false\n" + TASK, {"public/solve.py": coin})
    assert failed(timed, fresh.bench) == []


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"public/solve.py": "import nothing_of_this_name"}, "ModuleNotFoundError: No module named 'nothing_of_this"),
        ({"sealed/score.py": SCORE.replace("def score(", "def scores(")}, "sealed/score.py has no function score"),
        (
            {"sealed/score.py": SCORE.replace("rows = read_json(predictions)", "rows = data / 0")},
            "line 11 of sealed/score",
        ),
    ],
    ids=["artifact", "scorer", "predictions"],
)
def test_an_author_reads_what_went_wrong_in_the_first_check(fresh, tmp_path, files, said):
    first = prove(make_task(tmp_path / "faulty", TASK, files), fresh.bench)[0]
    assert not first.passed and said in first.seen, first.seen
