import json
import runpy

import pytest

from evolvent.errors import VerifierError
from evolvent.hive.shipped import HOME, shipped
from evolvent.hive.space import read_space
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
    result = race(PREDICT + "import os\npredict([b % 2 for b in os.urandom(300)])")
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


def test_every_method_of_the_shipped_baseline_gives_the_same_answers(monkeypatch):
    public = HOME / "speed" / "public"
    monkeypatch.syspath_prepend(str(public / "eval"))
    import questions

    module = runpy.run_path(str(public / "solve.py"))
    space = {one.name: one for one in read_space((public / "space.json").read_bytes()).params}
    asked = questions.draw(3)
    asked["queries"] = [*asked["queries"][:60], [0, 4000, 3999], [7, 8, 0], [0, 4000, 0]]
    right = questions.answers(asked)
    assert set(space["method"].values) == set(module["METHODS"])
    for name, find in module["METHODS"].items():
        for block, cut in [(50, 1), (1000, 50), (2000, 1), (37, 4000)]:
            found = find(asked["numbers"], asked["queries"], {"block": block, "cut": cut})
            assert found == right, (name, block, cut)
    text = json.dumps(asked)
    for name in space["read"].values:
        numbers, queries = module["READ"][name](text)
        assert numbers == asked["numbers"] and list(map(list, queries)) == asked["queries"], name
    assert all(json.loads(module["WRITE"][name](right)) == right for name in space["write"].values)


@pytest.mark.slow
def test_another_method_of_the_shipped_baseline_is_measured_faster(fresh):
    task = shipped("speed")
    digest = fresh.shelf.put(task)
    faster = json.loads(task.baseline["params.json"]) | {"method": "bits", "cut": 30}
    files = task.baseline | {"params.json": json.dumps(faster).encode()}
    assert fresh.bench.measure_files(digest, files, seeds=task.seeds[:1]).value > 1.5
