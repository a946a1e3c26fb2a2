import pytest

from evolvent.errors import VerifierError
from evolvent.hive.shipped import shipped
from evolvent.hive.task_folder import reseal
from hive.forge import HONEST, PREDICT, SCORE, TASK, make_task

TIMED = TASK.replace("range = [0.0, 1.0]", "exact = false\ntimed = 2")
RATIO = SCORE.replace("predictions):", "predictions, times):").replace(
    "return [float(row[\"label\"] == truth[row[\"id\"]]) for row in rows]",
    "return min(times['baseline']) / min(times['own'])",
)  # fmt: skip
SLOW = "import time\ntime.sleep(0.4)\n" + HONEST


@pytest.fixture
def race(fresh, tmp_path):
    task = make_task(tmp_path / "timed", TIMED, {"public/solve.py": SLOW, "sealed/score.py": RATIO})
    digest = fresh.shelf.put(task)
    return lambda solve: fresh.bench.measure_files(digest, {"solve.py": solve.encode()})


def test_what_takes_as_long_as_the_baseline_has_about_one_and_what_is_faster_has_more(race):
    assert 0.5 < race(SLOW).value < 2 < race(HONEST).value


@pytest.mark.parametrize(
    "lie",
    [
        "import time\ntime.time = time.monotonic = time.perf_counter = lambda: 0.0\n",
        "print('ratio: 1000', '{\"own\": [0.001]}')\n",
        "import os\nif os.fork():\n    os.wait()\n    os._exit(0)\nimport time\n",
    ],
)
def test_the_clock_is_none_that_an_artifact_can_reach(race, lie):
    assert race(lie + SLOW).value < 2


def test_to_leave_before_the_work_is_done_is_to_leave_without_it(race):
    result = race("import os\nif os.fork(): os._exit(0)\nos.setsid()\n" + SLOW)
    assert result.value is None and "no predictions" in result.why


def test_an_answer_that_changes_from_turn_to_turn_is_invalid(race):
    result = race(PREDICT + "import os\npredict([b % 2 for b in os.urandom(10)] * 30)")
    assert result.value is None and result.why == "another answer in turn 2"


def test_a_baseline_that_breaks_beside_it_is_nobodys_score(fresh, tmp_path):
    broken = make_task(tmp_path / "b", TIMED, {"public/solve.py": "raise SystemExit(2)", "sealed/score.py": RATIO})
    digest = fresh.shelf.put(broken)
    with pytest.raises(VerifierError, match="the baseline broke"):
        fresh.bench.measure_files(digest, {"solve.py": HONEST.encode()})


def test_the_shipped_task_knows_right_answers_from_wrong_ones(fresh):
    task = reseal(shipped("speed"), 1)
    digest = fresh.shelf.put(task)
    read = "import json\ng = json.load(open('inputs/questions.json'))\nn, qs = g['numbers'], g['queries']\n"
    for found, why in [
        ("[0] * len(qs)", "answers are wrong, the first to query"),
        ("[]", "a list of 1200 numbers"),
        ("[float(sorted(n[a:b])[k]) for a, b, k in qs]", "1200 answers are wrong"),
    ]:
        solve = f"{read}json.dump({found}, open('predictions.json', 'w'))"
        result = fresh.bench.measure_files(digest, {"solve.py": solve.encode()}, seeds=task.seeds[:1])
        assert result.value is None and why in result.why
