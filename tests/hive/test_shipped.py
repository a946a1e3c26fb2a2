import json
import random
import runpy
import subprocess
import sys

import pytest

from evolvent.errors import BadInput
from evolvent.hive.sealed import Bench
from evolvent.hive.shipped import HOME, names, shipped
from evolvent.hive.space import read_space
from evolvent.hive.task_folder import Shelf, reseal, write_task

FIRST_FIT = """
import json
def pack(capacity, items):
    rooms, bins = [], []
    for size in items:
        place = next((i for i, room in enumerate(rooms) if room >= size), len(rooms))
        rooms += [capacity] * (place == len(rooms))
        rooms[place] -= size
        bins.append(place)
    return bins
answers = [pack(o["capacity"], o["items"]) for o in json.load(open("inputs/instances.json"))]
json.dump(answers, open("predictions.json", "w"))
"""

WITH_SPACE = ("golf", "packing", "speed")
MEASURED = [
    ("packing", "fill", 0.7, 0.9),
    pytest.param("golf", "bpb", 4.0, 5.0, marks=pytest.mark.slow),
    pytest.param("speed", "ratio", 0.4, 2.5, marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(Shelf(tmp_path_factory.mktemp("shelf")))


@pytest.fixture(scope="module")
def packing(bench):
    task = reseal(shipped("packing"), secret=42)
    bench.shelf.put(task)
    return task


def test_the_baseline_of_packing_is_neither_at_the_floor_nor_at_the_ceiling(bench, packing):
    result = bench.measure_files(packing.digest, packing.baseline)
    assert 0.7 < result.value < 0.9 and len(result.values) == 3 and len(result.seeds[0].cases) == 12, result


def test_a_better_way_to_pack_scores_higher_and_stays_below_the_optimum(bench, packing):
    base = bench.measure_files(packing.digest, packing.baseline)
    better = bench.measure_files(packing.digest, {"solve.py": FIRST_FIT.encode()})
    assert base.value + 0.05 < better.value < 1.0
    assert [s.inputs_digest for s in base.seeds] == [s.inputs_digest for s in better.seeds]


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ("[[0] * len(o['items']) for o in given]", "its capacity is 1000"),
        ("[list(range(len(o['items'])))[1:] for o in given]", "numbers of bins"),
        ("[list(range(1, len(o['items']) + 1)) for o in given]", "no number of a bin"),
        ("[[0.5] * len(o['items']) for o in given]", "no number of a bin"),
        ("[[True] * len(o['items']) for o in given]", "no number of a bin"),
        ("[['0'] * len(o['items']) for o in given]", "no number of a bin"),
        ("[]", "a list of 12 packings"),
        ("{'fill': 1.0}", "a list of 12 packings"),
        ("[None] * 12", "numbers of bins"),
    ],
)
def test_what_is_no_packing_is_invalid(bench, packing, answers, why):
    given = "import json\ngiven = json.load(open('inputs/instances.json'))\n"
    solve = f"{given}json.dump({answers}, open('predictions.json', 'w'))"
    result = bench.measure_files(packing.digest, {"solve.py": solve.encode()}, seeds=packing.seeds[:1])
    assert result.value is None and why in result.why


def test_the_optimum_of_an_instance_is_what_it_says(monkeypatch):
    monkeypatch.syspath_prepend(str(HOME / "packing" / "public" / "eval"))
    import instances

    for seed in range(30):
        for one in instances.draw(seed):
            assert sum(one["items"]) == instances.NUM_BINS * one["capacity"], "its items fill the bins exactly"
            assert all(0 < size < one["capacity"] for size in one["items"])
    rng = random.Random(3)
    cuts = [instances._cut_triplet(rng) for _ in range(20)]
    perfect = {"capacity": 1000, "items": [size for cut in cuts for size in cut]}
    assert instances.fill(perfect, [i // 3 for i in range(60)]) == 1.0


def test_the_seal_holds_against_whoever_read_the_shipped_seeds(packing):
    raw = shipped("packing")
    assert set(raw.seeds + raw.holdout_seeds).isdisjoint(packing.seeds + packing.holdout_seeds)
    assert names() == sorted(names()) and "packing" in names()
    with pytest.raises(BadInput, match="did you mean packing"):
        shipped("pakcing")


@pytest.mark.parametrize("name", WITH_SPACE)
def test_the_baseline_lies_in_the_space_that_its_task_declares(name):
    task = shipped(name)
    space = read_space(task.below("public")["space.json"])
    point = space.read(task.baseline[space.file])
    assert point and set(point) == {one.name for one in space.params}
    assert space.file in task.mutable and "space.json" in task.fixed, "the numbers may be changed, the space may not"
    words = task.below("public")["program.md"].decode()
    assert not [one for one in point if f"`{one}`" not in words], "what an agent reads explains each"


def test_any_point_of_the_space_packs_and_the_same_one_packs_the_same(monkeypatch):
    public = HOME / "packing" / "public"
    monkeypatch.syspath_prepend(str(public / "eval"))
    import instances

    pack = runpy.run_path(str(public / "solve.py"))["pack"]
    space, rng = read_space((public / "space.json").read_bytes()), random.Random(5)
    for seed in range(25):
        point = space.draw(rng) | {"rounds": 3}
        one = instances.draw(seed)[seed % 12]
        bins = pack(one["capacity"], one["items"], point)
        assert 0.5 < instances.fill(one, bins) <= 1.0, point
        assert bins == pack(one["capacity"], one["items"], point), "chance has a seed"


@pytest.mark.slow
def test_only_several_parameters_together_come_near_to_the_optimum(bench, packing):
    def reach(**words):
        point = json.loads(packing.baseline["params.json"]) | words
        return bench.measure_files(packing.digest, packing.baseline | {"params.json": json.dumps(point).encode()}).value

    tuned = {"fit": "subset", "slack": 0, "steps": 500, "breadth": 8, "noise": 0.5}
    often = {"rounds": 200, "open": 16, "emptiest": 0.3, "tries": 100}
    plateau = reach(**tuned)
    assert 0.96 < plateau < 0.98 and reach(**often) < 0.97
    assert reach(**tuned, **often) > plateau + 0.005


@pytest.mark.parametrize(("name", "metric", "low", "high"), MEASURED)
def test_an_agent_can_measure_for_itself_with_what_it_clones(tmp_path, name, metric, low, high):
    write_task(shipped(name), tmp_path / "task")
    clone = tmp_path / "task" / "public"
    done = subprocess.run(
        ["bash", "eval/eval.sh"], cwd=clone, capture_output=True, text=True, check=True,
        env={"PATH": f"{sys.base_prefix}/bin:/usr/bin:/bin"},
    )  # fmt: skip
    dashes, line = done.stdout.strip().splitlines()[-2:]
    assert dashes == "---" and low < float(line.removeprefix(f"{metric}: ")) < high
