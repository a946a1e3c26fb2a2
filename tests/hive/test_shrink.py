import math
import random
import statistics

import pytest

from evolvent.errors import BadInput
from evolvent.hive.shrink import cut, interval, moments, shrink
from evolvent.hive.task import Direction

UP = Direction.MAXIMIZE
NUM_TRIES, NUM_CASES, RATE = 100, 20, 0.20


def likely(*runs):
    return shrink([moments(run) for run in runs])


def campaign(seed):
    """A hundred tries that are all the same coin: the cases of each."""
    rng = random.Random(seed)
    return [[float(rng.random() < RATE) for _ in range(NUM_CASES)] for _ in range(NUM_TRIES)]


def test_pure_noise_is_shown_near_its_true_rate_after_a_hundred_tries_and_not_where_luck_put_it():
    measured, tops = [], []
    for tries in map(campaign, range(40)):
        means = [statistics.fmean(cases) for cases in tries]
        measured.append(max(means))
        tops.append(likely(*tries)[means.index(max(means))])
    shown = [top.value for top in tops]
    assert statistics.fmean(measured) > 0.42, "the winner's curse: the best of a hundred measures far above 0.20"
    assert abs(statistics.fmean(shown) - RATE) < 0.03 and max(shown) < 0.30, (statistics.fmean(shown), max(shown))
    assert sum(top.low <= RATE <= top.high for top in tops) >= 36


def test_a_real_difference_is_hardly_drawn_in():
    rng = random.Random(0)
    runs = [[float(rng.random() < rate) for _ in range(200)] for rate in (0.2, 0.3, 0.4, 0.5, 0.6, 0.8)]
    for run, found in zip(runs, likely(*runs), strict=True):
        assert abs(found.value - statistics.fmean(run)) < 0.02
        assert found.low < found.value < found.high


def test_exact_numbers_are_not_drawn_at_all():
    assert [e.value for e in likely([0.5, 0.5], [0.7, 0.7], [0.9, 0.9])] == [0.5, 0.7, 0.9]


def test_by_hand_two_runs_with_a_spread_that_chance_explains_meet_in_the_middle():
    # within = 0.02, so each mean of two has noise 0.01; the means 0.5 and 0.6 have a spread Q = 0.005 / 0.01 = 0.5 < 1:
    # nothing is left between the runs, and both are worth 0.55 with a standard error of sqrt(0.01 / 2)
    first, second = likely([0.4, 0.6], [0.5, 0.7])
    assert first.value == pytest.approx(0.55) and second.value == pytest.approx(0.55)
    assert first.high - first.value == pytest.approx(1.959964 * math.sqrt(0.005), rel=1e-5)


def test_by_hand_two_runs_far_apart_keep_most_of_it():
    # noise 0.01 each; means 0 and 1: Q = 50, between = (50 - 1) / (200 - 20000/200) = 0.49, kept 0.49 / 0.50
    first, second = likely([-0.1, 0.1], [0.9, 1.1])
    assert (first.value, second.value) == (pytest.approx(0.01), pytest.approx(0.99))


def test_from_single_numbers_nothing_is_known_about_luck():
    assert [(e.value, e.low, e.high) for e in likely([1.0], [2.0])] == [
        (1.0, -math.inf, math.inf),
        (2.0, -math.inf, math.inf),
    ]
    assert shrink([]) == []
    with pytest.raises(BadInput, match="without numbers"):
        moments([])


def test_students_interval_as_in_the_tables():
    # mean 2, s = 1, n = 3: 2 +- 4.3027 / sqrt(3)
    found = interval([1.0, 2.0, 3.0])
    assert (found.value, found.num) == (2.0, 3)
    assert found.high == pytest.approx(2 + 4.30265 / math.sqrt(3), abs=1e-4)
    assert interval([5.0]).high == math.inf and math.isnan(interval([]).value)


def test_an_interval_is_no_wider_than_the_metric_can_be():
    found = cut(interval([0.9, 1.0, 1.0]), (0.0, 1.0))
    assert (found.value, found.high) == (pytest.approx(29 / 30), 1.0) and found.low == interval([0.9, 1.0, 1.0]).low
    assert cut(interval([0.0, 0.1]), (0.0, 1.0)).low == 0.0
    assert cut(interval([0.5]), (0.0, 1.0)).high == math.inf, "what nobody knows stays unknown"
    assert cut(interval([0.9, 1.0]), None) == interval([0.9, 1.0])


def test_students_interval_holds_the_truth_19_times_in_20():
    rng, held = random.Random(0), 0
    for _ in range(1000):
        found = interval([rng.gauss(3.0, 2.0) for _ in range(3)])
        held += found.low <= 3.0 <= found.high
    assert 0.93 <= held / 1000 <= 0.97
