import itertools
import math
import random
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.errors import BadInput
from evolvent.evals import metrics
from evolvent.evals.metrics import difference, mean, pass_at_k, ratio, ratio_difference, wilson

shares = st.lists(st.integers(0, 4).map(lambda n: n / 4), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("num_right", "num", "low", "high"),
    [  # Wilson's score interval at 95 %, without continuity correction, as tables print it
        (0, 10, 0.0000, 0.2775),
        (1, 10, 0.0179, 0.4042),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0000),
        (15, 148, 0.0624, 0.1605),  # Newcombe 1998, table I: 81/263, 15/148, 0/20, 1/29
        (81, 263, 0.2553, 0.3662),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_printed_intervals(num_right, num, low, high):
    made = wilson(num_right, num)
    assert made.value == num_right / num and made.num == num
    assert (round(made.low, 4), round(made.high, 4)) == (low, high)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_ends_are_where_the_score_test_just_rejects(pair):
    # the ends solve (share - p)^2 = z^2 p (1 - p) / n, found here by the quadratic formula and not by ours
    num_right, num = pair
    share, z2 = num_right / num, 1.959963984540054**2
    a, b, c = 1 + z2 / num, -(2 * share + z2 / num), share * share
    root = math.sqrt(max(b * b - 4 * a * c, 0))
    made = wilson(num_right, num)
    assert made.low == pytest.approx((-b - root) / (2 * a), abs=1e-7)
    assert made.high == pytest.approx((-b + root) / (2 * a), abs=1e-7)
    assert 0 <= made.low <= made.value <= made.high <= 1


def test_wilson_of_nothing_knows_nothing():
    made = wilson(0, 0)
    assert math.isnan(made.value) and (made.low, made.high, made.num) == (0.0, 1.0, 0)


@pytest.mark.parametrize("wrong", [(3, 2), (-1, 2)])
def test_more_right_than_there_are_is_refused(wrong):
    with pytest.raises(BadInput):
        wilson(*wrong)
    with pytest.raises(BadInput):
        pass_at_k(wrong[1], wrong[0], 1)


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_draws_that_hold_a_right_one(case):
    num, num_right, k = case
    draws = list(itertools.combinations([1] * num_right + [0] * (num - num_right), k))
    assert pass_at_k(num, num_right, k) == pytest.approx(statistics.fmean(any(d) for d in draws), abs=1e-12)


def test_pass_at_k_worked_by_hand():
    # 4 attempts, 2 right, k = 2: 1 - C(2,2)/C(4,2) = 1 - 1/6
    assert pass_at_k(4, 2, 2) == pytest.approx(5 / 6)
    assert pass_at_k(10, 3, 1) == pytest.approx(0.3) and pass_at_k(5, 0, 5) == 0 and pass_at_k(5, 1, 5) == 1


@pytest.mark.parametrize("k", [0, 5, -1])
def test_pass_at_k_needs_as_many_attempts_as_it_draws(k):
    with pytest.raises(BadInput, match="attempts=4"):
        pass_at_k(4, 2, k)


@given(shares, st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_the_same_seed_gives_the_same_interval(values, seed):
    assert mean(values, seed) == mean(values, seed)
    made = mean(values, seed)
    assert made.value == pytest.approx(statistics.fmean(values)) and made.num == len(values)
    assert min(values) - 1e-12 <= made.low <= made.high <= max(values) + 1e-12


def test_another_seed_gives_another_interval_of_about_the_same_width():
    values = [random.Random(i).random() for i in range(50)]
    a, b = mean(values, 0), mean(values, 1)
    assert (a.low, a.high) != (b.low, b.high) and a.value == b.value
    assert a.high - a.low == pytest.approx(b.high - b.low, rel=0.15)


def test_the_interval_of_a_mean_covers_the_truth_about_as_often_as_it_says():
    # 300 samples of 60 tasks from a known distribution; 95 % +- 4 standard errors (0.0126), less 2 % for small samples
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(300):
        made = mean(rng.beta(2, 3, size=60).tolist(), seed)
        covered += made.low <= 0.4 <= made.high
    assert 0.88 <= covered / 300 <= 0.995


def test_the_interval_of_a_mean_is_as_wide_as_the_normal_one():
    values = np.random.default_rng(1).normal(size=400)
    made = mean(values.tolist())
    half = 1.96 * values.std() / 20
    assert made.high - made.low == pytest.approx(2 * half, rel=0.1)


def test_memory_for_many_tasks_is_bounded_without_changing_a_draw(monkeypatch):
    values = [random.Random(i).random() for i in range(40)]
    whole = mean(values)
    for at_once in (1, 41, 40 * 7 + 3):
        monkeypatch.setattr(metrics, "MAX_DRAWS", at_once)
        assert mean(values) == whole


def test_no_tasks_give_no_number():
    for made in (mean([]), ratio([], []), ratio([1.0], [0.0]), ratio_difference(([], []), ([], []))):
        assert math.isnan(made.value) and math.isnan(made.low) and math.isnan(made.high)


def test_a_ratio_is_of_sums_and_not_a_mean_of_ratios():
    # 3 right of 4 with the tool in one task, none of 1 in another: 3/5, where the mean of ratios would be 3/8
    made = ratio([3, 0], [4, 1])
    assert made.value == pytest.approx(0.6) and 0 <= made.low <= made.high <= 0.75


def test_a_ratio_of_tasks_without_a_bottom_is_resampled_over_those_that_have_one():
    made = ratio([1, 0, 0], [1, 0, 0])
    assert (made.value, made.low, made.high) == (1, 1, 1)


def test_a_paired_difference_is_by_task():
    after, before = [0.5, 1.0, 0.75, 1.0], [0.25, 0.75, 0.5, 0.75]
    made = difference(after, before)  # every task gained 1/4: there is no spread, however much the tasks differ
    assert (made.value, made.low, made.high, made.num) == (0.25, 0.25, 0.25, 4)


@given(shares)
@settings(max_examples=20, deadline=None)
def test_the_difference_of_identical_sides_is_nothing(values):
    bottoms = [1.0] * len(values)
    for made in (difference(values, values), ratio_difference((values, bottoms), (values, bottoms))):
        assert (made.value, made.low, made.high) == (0, 0, 0)


def test_swapping_the_sides_turns_the_sign():
    rng = random.Random(0)
    a, b = [rng.random() for _ in range(30)], [rng.random() for _ in range(30)]
    there, back = difference(a, b), difference(b, a)
    assert there.value == pytest.approx(-back.value)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


def test_a_difference_of_ratios_worked_by_hand():
    # after: (2 + 1) / (2 + 2) = 3/4; before: (1 + 0) / (1 + 1) = 1/2
    made = ratio_difference(([2, 1], [2, 2]), ([1, 0], [1, 1]))
    assert made.value == pytest.approx(0.25) and made.num == 2
    # over a bottom of ones it is the paired difference
    rng = random.Random(1)
    a, b, ones = [rng.random() for _ in range(30)], [rng.random() for _ in range(30)], [1.0] * 30
    made, plain = ratio_difference((a, ones), (b, ones)), difference(a, b)
    assert (made.value, made.low, made.high) == pytest.approx((plain.value, plain.low, plain.high))


def test_sides_of_other_tasks_are_refused():
    with pytest.raises(BadInput, match="3 and 2"):
        difference([1, 1, 1], [1, 0])
    with pytest.raises(BadInput, match="same tasks"):
        ratio([1, 1], [1])
    with pytest.raises(BadInput, match="same tasks"):
        ratio_difference(([1, 1], [1, 1]), ([1], [1]))
