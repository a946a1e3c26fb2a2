import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.credit.advantage import (
    Centred,
    LeaveOneOut,
    MeanNormalised,
    PassAtK,
    Standardized,
    as_scored,
    imitate,
    imitate_all,
)
from evolvent.errors import BadInput

scores_of_a_group = st.lists(st.integers(-1000, 1000).map(lambda n: n / 64), min_size=2, max_size=12)
standardized = st.builds(Standardized, st.sampled_from([0, 1]), st.sampled_from([0.0, 1e-6, 1e-4]))
methods = standardized | st.sampled_from([Centred(), LeaveOneOut()])
outcomes = st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=12)


def test_values_worked_by_hand():
    # mean 1/4; deviations 3/4, -1/4, -1/4, -1/4; their squares sum to 9/16 + 3/16 = 3/4
    # ddof 0: std = sqrt(3/16) = 0.4330, so 0.75 / 0.4330 = sqrt(3) = 1.732 and -0.25 / 0.4330 = -0.577
    assert Standardized(ddof=0, eps=0.0)([1, 0, 0, 0]) == pytest.approx([3**0.5] + [-(3**-0.5)] * 3)
    # ddof 1: std = sqrt(3/4 / 3) = 0.5, so 0.75 / 0.5 = 1.5 and -0.25 / 0.5 = -0.5
    assert Standardized(ddof=1, eps=0.0)([1, 0, 0, 0]) == pytest.approx([1.5, -0.5, -0.5, -0.5])
    # eps joins the deviation: 0.75 / (0.5 + 0.25) = 1 and -0.25 / 0.75 = -1/3
    assert Standardized(ddof=1, eps=0.25)([1, 0, 0, 0]) == pytest.approx([1.0, -1 / 3, -1 / 3, -1 / 3])


def test_baselines_worked_by_hand():
    # mean 1/4: 3/4 and -1/4
    assert Centred()([1, 0, 0, 0]) == [0.75, -0.25, -0.25, -0.25]
    # the others of the first average 0, those of the second 1/3
    assert LeaveOneOut()([1, 0, 0, 0]) == pytest.approx([1, -1 / 3, -1 / 3, -1 / 3])
    assert LeaveOneOut()([3, 1]) == [2, -2]
    # (1 - 1/4) / (1/4) = 3 and -1
    assert MeanNormalised()([1, 0, 0, 0]) == [3, -1, -1, -1]
    assert MeanNormalised()([0, 0, 0]) == [0, 0, 0]
    assert as_scored([1, -2.5]) == [1.0, -2.5]


def test_pass_at_k_worked_by_hand():
    # of the 6 pairs of 4 attempts 3 hold the success: R = 1/2, deviation 1/2; the success (1 - 1/2) / (1/2) = 1;
    # a failure sits in 3 pairs, 2 of them with another failure: (1/2 - 2/3) / (1/2) = -1/3
    assert PassAtK(2, threshold=0.5)([1, 0, 0, 0]) == pytest.approx([1, -1 / 3, -1 / 3, -1 / 3])
    # two successes: only the pair of failures misses, R = 5/6, deviation sqrt(5)/6; success (1/6) / that = 0.4472;
    # a failure sits in 3 pairs, 1 of them a miss: (1/6 - 1/3) / that = -0.4472
    assert PassAtK(2, threshold=0.5)([1, 0, 1, 0]) == pytest.approx([5**-0.5, -(5**-0.5)] * 2)
    # two of three attempts always hold one of two successes: nothing left to learn about pass@2
    assert PassAtK(2, threshold=0.5)([1, 1, 0]) == [0, 0, 0]


@given(st.data(), outcomes)
def test_pass_at_k_is_the_mean_over_all_groups_of_k(data, scores):
    k = data.draw(st.integers(1, len(scores)))
    groups = list(itertools.combinations(range(len(scores)), k))
    passed = [max(scores[i] for i in group) for group in groups]
    mean = sum(passed) / len(groups)
    std = math.sqrt(sum((p - mean) ** 2 for p in passed) / len(groups))
    wanted = []
    for i in range(len(scores)):
        mine = [p for group, p in zip(groups, passed, strict=True) if i in group]
        wanted.append((sum(mine) / len(mine) - mean) / std if std else 0.0)
    assert PassAtK(k, threshold=0.5)(scores) == pytest.approx(wanted, abs=1e-9)


@given(outcomes)
def test_pass_at_one_is_standardised_by_the_population(scores):
    assert PassAtK(1, threshold=0.5)(scores) == pytest.approx(Standardized(ddof=0, eps=0.0)(scores), abs=1e-9)


@given(scores_of_a_group)
def test_leave_one_out_is_centred_stretched_by_n_over_n_minus_one(scores):
    num = len(scores)
    assert LeaveOneOut()(scores) == pytest.approx([c * num / (num - 1) for c in Centred()(scores)], abs=1e-9)


@given(outcomes)
def test_by_the_mean_successes_of_a_group_weigh_its_failures(scores):
    made = MeanNormalised()(scores)
    assert math.fsum(made) == pytest.approx(0, abs=1e-9)
    # MaxRL: gradient of log p estimated as the mean of grad log pi over successes, less that over all
    won = sum(scores)
    if won > 0:
        assert made == pytest.approx([len(scores) / won * s - 1 for s in scores])


@pytest.mark.parametrize(
    "method",
    [Centred(), LeaveOneOut(), *(Standardized(ddof=d, eps=e) for d in (0, 1) for e in (0.0, 1e-8, 1e-4))],
)
@pytest.mark.parametrize("score", [0.0, 1.0, 0.1, -3.7, 1e300])
@pytest.mark.parametrize("num", [2, 3, 7])
def test_equal_scores_give_exactly_zero(method, score, num):
    # the mean of three times 0.1 is not 0.1 in floats: the rest must not become a credit
    assert method([score] * num) == [0.0] * num


def test_constants_and_a_group_of_one_are_refused():
    for scores in ([], [1.0]):
        for method in (Standardized(ddof=1, eps=1e-4), Centred(), LeaveOneOut(), MeanNormalised(), PassAtK(1, 0.5)):
            with pytest.raises(BadInput, match="group_size") as caught:
                method(scores)
            assert caught.value.got == len(scores) and "2" in str(caught.value.wanted)
    for wrong in ({"ddof": 2, "eps": 0.1}, {"ddof": 1, "eps": -1e-4}, {"ddof": 0, "eps": math.nan}):
        with pytest.raises(BadInput):
            Standardized(**wrong)
    with pytest.raises(BadInput, match=">= 4"):
        PassAtK(4, threshold=0.5)([1, 0, 0])
    with pytest.raises(BadInput):
        PassAtK(0, threshold=0.5)
    with pytest.raises(BadInput, match="two signs"):
        MeanNormalised()([1.0, -1.0])


@given(methods, scores_of_a_group)
def test_advantages_of_a_group_sum_to_zero(method, scores):
    assert math.fsum(method(scores)) == pytest.approx(0, abs=1e-9)


@given(methods, scores_of_a_group, st.integers(-64, 64))
def test_a_shift_of_all_scores_changes_nothing(method, scores, shift):
    assert method([s + shift for s in scores]) == pytest.approx(method(scores), abs=1e-9)


@given(st.data(), methods, scores_of_a_group)
def test_the_order_of_a_group_carries_nothing(data, method, scores):
    order = data.draw(st.permutations(range(len(scores))))
    plain = method(scores)
    assert method([scores[i] for i in order]) == [plain[i] for i in order]  # to the last bit


@given(st.sampled_from([0, 1]), scores_of_a_group, st.sampled_from([0.5, 2.0, 3.0, 10.0]))
def test_the_scale_of_scores_matters_only_through_eps(ddof, scores, scale):
    scaled = [s * scale for s in scores]
    assert Standardized(ddof, 0.0)(scaled) == pytest.approx(Standardized(ddof, 0.0)(scores), abs=1e-9)
    # (k s - k m) / (k std + k eps) is the same number
    assert Standardized(ddof, 1e-3 * scale)(scaled) == pytest.approx(Standardized(ddof, 1e-3)(scores), abs=1e-9)


@given(methods, scores_of_a_group)
def test_a_better_score_never_has_a_smaller_advantage(method, scores):
    ranked = sorted(zip(scores, method(scores), strict=True))
    assert all(a[1] <= b[1] for a, b in itertools.pairwise(ranked))


def test_imitation_weighs_what_succeeded_or_everything():
    assert imitate([1.0, 0.0, 0.5, -1.0]) == [1.0, 0.0, 1.0, 0.0]
    assert imitate_all([1.0, 0.0]) == [1.0, 1.0]


@pytest.mark.parametrize(
    "method",
    [
        Standardized(0, 1e-6),
        Centred(),
        LeaveOneOut(),
        MeanNormalised(),
        PassAtK(4, 0.5),
        as_scored,
        imitate,
        imitate_all,
    ],
)
def test_an_advantage_survives_json(method):
    assert from_json(to_json(method)) == method
