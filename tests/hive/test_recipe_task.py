import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput, VerifierError
from evolvent.hive import recipe_task
from evolvent.hive.play import Played
from evolvent.hive.recipe_task import measure_recipe, plan_of, pose_tasks, read_recipe, spend
from evolvent.hive.sealed import Bench
from evolvent.hive.shipped import shipped
from evolvent.hive.space import read_space
from evolvent.hive.task_folder import Shelf, reseal
from evolvent.hive.trusted import Scorer
from evolvent.plans import check

TASK = reseal(shipped("recipe"), secret=42)
SPACE = TASK.below("public")["space.json"]
BASE = json.loads(TASK.baseline["recipe.json"])
POINTS = st.integers(0, 2**32).map(lambda seed: read_space(SPACE).draw(random.Random(seed)))


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    bench = Bench(Shelf(tmp_path_factory.mktemp("shelf")))
    bench.shelf.put(TASK)
    return bench


def test_the_budget_of_the_baseline_is_spent_as_computed_by_hand():
    # 0.6 of 18,000 rows: 10,800 / (32 + 24) = 192; the rest: 7,200 / (16 x 8 + 48 + 24) = 36; 36 x 128 x 24 tokens
    course = spend(BASE)
    assert (course.cold_steps, course.steps, course.max_tokens) == (192, 36, 110_592)


@given(POINTS)
def test_no_recipe_buys_more_than_the_budget_pays_for_and_none_leaves_a_step_unbought(recipe):
    course = spend(recipe)
    cold = recipe["cold_batch"] + recipe_task.UPDATE_ROWS
    step = recipe["tasks"] * recipe["group"] + recipe_task.SAMPLE_ROWS + recipe_task.UPDATE_ROWS * recipe["updates"]
    left = recipe_task.BUDGET - course.cold_steps * cold - course.steps * step
    assert 0 <= left < cold + step, f"{left} rows are left"


@given(POINTS)
@settings(max_examples=20, deadline=None)
def test_every_point_of_the_space_is_a_plan_that_could_run(recipe):
    plan = check(plan_of(recipe, seed=3))
    assert from_json(to_json(plan)) == plan
    assert plan.num_cold + plan.num_steps == spend(recipe).cold_steps + spend(recipe).steps


WRONG = [
    ({"source": "chain:1"}, "no parameter 'source'"),
    ({"advantage": "evolvent.credit.advantage:Centred"}, "outside of the space"),
    ({"advantage": ["standardized"]}, "outside of the space"),
    ({"rate": "0.001"}, "outside of the space"),
    ({"rate": 1e9}, "outside of the space"),
    ({"rate": -0.001}, "outside of the space"),
    ({"group": 8.5}, "outside of the space"),
    ({"group": True}, "outside of the space"),
    ({"group": 10**400}, "outside of the space"),
    ({"decay": 1}, "outside of the space"),
    ({"tasks": None}, "outside of the space"),
]


@pytest.mark.parametrize(("change", "why"), WRONG)
def test_what_is_not_in_the_space_is_no_recipe(change, why):
    with pytest.raises(BadInput, match=why):
        read_recipe({**BASE, **change}, SPACE)


@pytest.mark.parametrize("key", BASE)
def test_a_recipe_names_every_parameter(key):
    with pytest.raises(BadInput, match="a parameter has no value"):
        read_recipe({name: value for name, value in BASE.items() if name != key}, SPACE)


@pytest.mark.parametrize(
    ("predictions", "why"),
    [
        (json.dumps(BASE).replace("0.001", "NaN"), "NaN is no number"),
        (json.dumps({**BASE, "loss": "os:system"}), "no parameter 'loss'"),
        (json.dumps([BASE]), "a point is a JSON object"),
        (json.dumps(BASE)[:-1] + ', "rate": 0.1}', "a key is there twice"),
    ],
)
def test_the_scorer_says_what_is_wrong_and_trains_nothing(bench, predictions, why):
    with Scorer(TASK, bench.shelf.folder(TASK.digest)) as scorer:
        marks = scorer.score(TASK.seeds[0], Played((), (predictions.encode(),)))
    assert not marks.cases and why in marks.why


def test_the_dearest_step_of_the_space_is_bought_once_and_beyond_the_budget_it_is_refused():
    dearest = {**BASE, "cold_share": 0.95, "tasks": 32, "group": 16, "updates": 4}
    assert spend(dearest).steps == 1
    with pytest.raises(BadInput, match="does not pay for one step of each kind"):
        spend(dearest, budget=9_000)


def test_a_trainer_that_breaks_is_no_fault_of_the_recipe(bench):
    cramped = replace(TASK, budget=replace(TASK.budget, scoring_memory_mb=300))  # torch does not fit
    with Scorer(cramped, bench.shelf.folder(TASK.digest)) as scorer, pytest.raises(VerifierError, match="scorer broke"):
        scorer.score(5, Played((), (json.dumps(BASE).encode(),)))


def test_each_seed_shows_other_tasks_and_none_that_is_held_out(bench):
    from evolvent import tasks
    from evolvent.evals.measure import Suite, hold_out

    with Scorer(TASK, bench.shelf.folder(TASK.digest)) as scorer:
        first, second = (json.loads(scorer.pose(seed)["inputs/question.json"]) for seed in (5, 6))
    assert first == pose_tasks(5) and first["examples"] != second["examples"] and first["budget"] == second["budget"]
    source = tasks.source(recipe_task.FAMILY, recipe_task.run_seed(5))
    suite = Suite(recipe_task.NUM_TASKS, recipe_task.NUM_TASKS, num_levels=recipe_task.NUM_LEVELS)
    held_out = {task.question for cell in hold_out(suite, source).values() for task in cell}
    assert len(first["examples"]) == 12 and not held_out & {one["question"] for one in first["examples"]}


def test_a_short_training_measures_every_level_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    levels = measure_recipe({**BASE, "tasks": 4, "group": 2}, 5, budget=300, num_tasks=4)
    assert len(levels) == recipe_task.NUM_LEVELS and all(0 <= one <= 1 for one in levels)
    assert not list(tmp_path.iterdir())


def test_program_space_and_trainer_tell_the_same(bench):
    program = TASK.files["public/program.md"].decode()
    names = {one.name for one in read_space(SPACE).params}
    assert names == set(BASE) and all(f"`{name}`" in program for name in names)
    for param in read_space(SPACE).params:
        assert (
            param.kind != "choice"
            or param.name in ("ratio", "reduce")
            or all(f"`{v}`" in program for v in param.values)
        )
    for number in (recipe_task.BUDGET, recipe_task.SAMPLE_ROWS, recipe_task.UPDATE_ROWS, recipe_task.ROW_TOKENS):
        assert str(number) in program, f"the program does not say {number}"
    assert f"{recipe_task.NUM_TASKS} held-out tasks of each of the levels 1 to {recipe_task.NUM_LEVELS}" in program


@pytest.mark.slow
def test_practice_teaches_more_than_imitation_for_the_same_budget():
    whole, cold = measure_recipe(BASE, 7), measure_recipe({**BASE, "cold_share": 0.95}, 7)
    assert sum(whole) > sum(cold) + 0.2, f"{whole} against {cold}"
