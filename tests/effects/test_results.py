import json
import math

import pytest

from evolvent.effects import Observation, Spent
from evolvent.effects.results import (
    SeedResult,
    keep_result,
    key_of,
    makespan,
    measure_seed,
    read_board,
    read_result,
    result_path,
    summarize,
    write_board,
)
from evolvent.effects.session import Session
from evolvent.errors import BadInput
from evolvent.recipes import circle, sft


def seed_result(seed, gap=1.0, seconds=10.0):
    one = Observation("a claim", "greater", "accuracy", (gap,) * 256, (0.0,) * 256, Spent(900 + seed, 5), Spent(900, 5))
    two = Observation("the same", "equal", "length", (gap,) * 256, (gap,) * 256, tolerance=0.1)
    return SeedResult("toy", seed, seconds, 0.0, (one, two))


def test_the_answer_is_the_first_contrast_and_then_all():
    answer = summarize([seed_result(s) for s in (2, 0, 1)]).as_answer()
    top = [
        "name",
        "treated",
        "control",
        "difference",
        "low",
        "high",
        "sign_ok",
        "seconds",
        "metric",
        "tokens",
        "updates",
    ]
    assert list(answer) == [*top, "contrasts"]
    keys = ["claim", "kind", "treated", "control", "difference", "low", "high", "ok", "per_seed"]
    assert [list(one) for one in answer["contrasts"]] == [keys, keys]
    assert {k: answer[k] for k in top[1:6]} == {k: answer["contrasts"][0][k] for k in top[1:6]}
    assert answer["sign_ok"] and answer["metric"] == "accuracy"
    assert (answer["tokens"], answer["updates"]) == (901, 5)
    assert json.loads(json.dumps(answer, allow_nan=False))["contrasts"][0]["per_seed"] == [1.0, 1.0, 1.0]


def test_the_board_keeps_more_and_six_digits(tmp_path):
    effect = summarize([seed_result(s, gap=1 / 3) for s in range(3)])
    write_board(tmp_path / "effects.json", {"toy": effect.as_entry()})
    entry = read_board(tmp_path / "effects.json")["toy"]
    assert entry["verdict"] == "shown" and entry["seeds"] == [0, 1, 2]
    assert entry["treated"] == 0.333333
    assert entry["contrasts"][1]["tolerance"] == 0.1
    assert read_board(tmp_path / "none.json") == {}
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(BadInput, match="broken"):
        read_board(tmp_path / "broken.json")


def test_two_seeds_have_numbers_and_no_verdict():
    effect = summarize([seed_result(0), seed_result(1)])
    assert effect.as_answer()["sign_ok"] and effect.verdict == ""


def test_three_jobs_on_two_processes_take_as_long_as_the_later_one():
    # 10 and 20 begin at once, 5 begins when the 10 is over
    assert makespan([10, 20, 5], 2) == 20
    assert makespan([10, 10, 10], 2) == 20
    assert makespan([10, 10, 10], 1) == 30
    assert makespan([], 2) == 0


def test_a_result_survives_its_file_and_a_broken_file_counts_as_none(tmp_path):
    path = result_path(tmp_path, "toy", "0f", 1)
    assert read_result(path) is None
    keep_result(path, seed_result(1, gap=math.pi))
    assert read_result(path) == seed_result(1, gap=math.pi)
    path.write_text(path.read_text()[:-40])
    assert read_result(path) is None
    path.write_text("[]")
    assert read_result(path) is None


def test_the_key_changes_with_the_plan_and_the_recipe():
    keys = {
        key_of(f"evolvent.recipes.{name}", plan) for name in ("circle", "sft") for plan in (circle.build(), sft.build())
    }
    assert len(keys) == 4
    assert key_of("evolvent.recipes.sft", sft.build()) in keys


def test_seconds_count_a_cold_start_that_was_kept():
    given = Session()
    given.cold["elsewhere"] = (100.0, False)
    given.cold["here"] = (50.0, True)
    result = measure_seed("toy", lambda seed: seed_result(seed).observations, 4, given)
    assert 100.0 <= result.seconds < 110.0
    assert (result.cached_s, result.seed) == (100.0, 4)


@pytest.mark.parametrize("said", [[], [0.5], None])
def test_an_effect_that_observes_nothing_is_told_what_is_wanted(said):
    with pytest.raises((BadInput, TypeError)):
        measure_seed("toy", lambda seed: said, 0, Session())


def test_seeds_that_make_different_claims_are_refused():
    half = SeedResult("toy", 1, 1.0, 0.0, seed_result(1).observations[:1])
    with pytest.raises(BadInput, match="different numbers of claims"):
        summarize([seed_result(0), half])
