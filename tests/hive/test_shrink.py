import math
import random
import statistics

import pytest

from evolvent.errors import BadInput
from evolvent.hive.board import BoardRun, due_for_holdout, rank
from evolvent.hive.shrink import interval, shrink
from evolvent.hive.task import Direction

UP = Direction.MAXIMIZE
NUM_TRIES, NUM_CASES, RATE = 100, 20, 0.20


def campaign(seed):
    """A hundred tries that are all the same coin."""
    rng = random.Random(seed)
    runs = []
    for number in range(NUM_TRIES):
        cases = tuple(float(rng.random() < RATE) for _ in range(NUM_CASES))
        runs.append(BoardRun("t", f"{number:040x}", "a", number, values=(statistics.fmean(cases),), cases=cases))
    return runs


def test_pure_noise_is_shown_near_its_true_rate_after_a_hundred_tries_and_not_where_luck_put_it():
    tops = [rank(campaign(seed), UP)[0] for seed in range(40)]
    measured = statistics.fmean(row.measured.value for row in tops)
    likely = [row.shown.value for row in tops]
    assert measured > 0.42, "the winner's curse: the best of a hundred measures far above 0.20"
    assert abs(statistics.fmean(likely) - RATE) < 0.03 and max(likely) < 0.30, (statistics.fmean(likely), max(likely))
    assert sum(row.likely.low <= RATE <= row.likely.high for row in tops) >= 36


def test_the_hold_out_of_the_best_lands_at_the_true_rate():
    shown, rng = [], random.Random("hold-out")
    for seed in range(60):
        runs = campaign(seed)
        due = {run.commit for run in due_for_holdout(runs, UP, 3)}
        looked = [
            BoardRun("t", r.commit, "a", r.number, values=r.values, cases=r.cases, holdout=tuple(
                sum(rng.random() < RATE for _ in range(NUM_CASES)) / NUM_CASES for _ in range(3)
            ) if r.commit in due else ())
            for r in runs
        ]  # fmt: skip
        shown.append(rank(looked, UP)[0].shown.value)
    assert abs(statistics.fmean(shown) - RATE) < 0.02


def test_a_real_difference_is_hardly_drawn_in():
    rng = random.Random(0)
    runs = [[float(rng.random() < rate) for _ in range(200)] for rate in (0.2, 0.3, 0.4, 0.5, 0.6, 0.8)]
    for run, likely in zip(runs, shrink(runs), strict=True):
        assert abs(likely.value - statistics.fmean(run)) < 0.02
        assert likely.low < likely.value < likely.high


def test_exact_numbers_are_not_drawn_at_all():
    assert [e.value for e in shrink([[0.5, 0.5], [0.7, 0.7], [0.9, 0.9]])] == [0.5, 0.7, 0.9]


def test_by_hand_two_runs_with_a_spread_that_chance_explains_meet_in_the_middle():
    # within = 0.02, so each mean of two has noise 0.01; the means 0.5 and 0.6 have a spread Q = 0.005 / 0.01 = 0.5 < 1:
    # nothing is left between the runs, and both are worth 0.55 with a standard error of sqrt(0.01 / 2)
    first, second = shrink([[0.4, 0.6], [0.5, 0.7]])
    assert first.value == pytest.approx(0.55) and second.value == pytest.approx(0.55)
    assert first.high - first.value == pytest.approx(1.959964 * math.sqrt(0.005), rel=1e-5)


def test_by_hand_two_runs_far_apart_keep_most_of_it():
    # noise 0.01 each; means 0 and 1: Q = 50, between = (50 - 1) / (200 - 20000/200) = 0.49, kept 0.49 / 0.50
    first, second = shrink([[-0.1, 0.1], [0.9, 1.1]])
    assert (first.value, second.value) == (pytest.approx(0.01), pytest.approx(0.99))


def test_from_single_numbers_nothing_is_known_about_luck():
    assert [(e.value, e.low, e.high) for e in shrink([[1.0], [2.0]])] == [
        (1.0, -math.inf, math.inf),
        (2.0, -math.inf, math.inf),
    ]
    assert shrink([]) == []
    with pytest.raises(BadInput, match="without numbers"):
        shrink([[]])


def test_students_interval_as_in_the_tables():
    # mean 2, s = 1, n = 3: 2 +- 4.3027 / sqrt(3)
    found = interval([1.0, 2.0, 3.0])
    assert (found.value, found.num) == (2.0, 3)
    assert found.high == pytest.approx(2 + 4.30265 / math.sqrt(3), abs=1e-4)
    assert interval([5.0]).high == math.inf and math.isnan(interval([]).value)


def test_students_interval_holds_the_truth_19_times_in_20():
    rng, held = random.Random(0), 0
    for _ in range(1000):
        found = interval([rng.gauss(3.0, 2.0) for _ in range(3)])
        held += found.low <= 3.0 <= found.high
    assert 0.93 <= held / 1000 <= 0.97
