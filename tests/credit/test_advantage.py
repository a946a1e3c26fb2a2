import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.credit.advantage import Standardized, imitate, imitate_all
from evolvent.errors import BadInput

scores_of_a_group = st.lists(st.integers(-1000, 1000).map(lambda n: n / 64), min_size=2, max_size=12)
methods = st.builds(Standardized, st.sampled_from([0, 1]), st.sampled_from([0.0, 1e-6, 1e-4]))


def test_values_worked_by_hand():
    # mean 1/4; deviations 3/4, -1/4, -1/4, -1/4; their squares sum to 9/16 + 3/16 = 3/4
    # ddof 0: std = sqrt(3/16) = 0.4330, so 0.75 / 0.4330 = sqrt(3) = 1.732 and -0.25 / 0.4330 = -0.577
    assert Standardized(ddof=0, eps=0.0)([1, 0, 0, 0]) == pytest.approx([3**0.5] + [-(3**-0.5)] * 3)
    # ddof 1: std = sqrt(3/4 / 3) = 0.5, so 0.75 / 0.5 = 1.5 and -0.25 / 0.5 = -0.5
    assert Standardized(ddof=1, eps=0.0)([1, 0, 0, 0]) == pytest.approx([1.5, -0.5, -0.5, -0.5])
    # eps joins the deviation: 0.75 / (0.5 + 0.25) = 1 and -0.25 / 0.75 = -1/3
    assert Standardized(ddof=1, eps=0.25)([1, 0, 0, 0]) == pytest.approx([1.0, -1 / 3, -1 / 3, -1 / 3])


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("score", [0.0, 1.0, 0.1, -3.7, 1e300])
@pytest.mark.parametrize("num", [2, 3, 7])
@pytest.mark.parametrize("eps", [0.0, 1e-8, 1e-4])
def test_equal_scores_give_exactly_zero(ddof, score, num, eps):
    # the mean of three times 0.1 is not 0.1 in floats: the rest must not become a credit
    assert Standardized(ddof=ddof, eps=eps)([score] * num) == [0.0] * num


def test_constants_and_a_group_of_one_are_refused():
    for scores in ([], [1.0]):
        with pytest.raises(BadInput, match="group_size") as caught:
            Standardized(ddof=1, eps=1e-4)(scores)
        assert caught.value.got == len(scores) and "2" in str(caught.value.wanted)
    for wrong in ({"ddof": 2, "eps": 0.1}, {"ddof": 1, "eps": -1e-4}, {"ddof": 0, "eps": math.nan}):
        with pytest.raises(BadInput):
            Standardized(**wrong)


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


@pytest.mark.parametrize("method", [Standardized(0, 1e-6), imitate, imitate_all])
def test_an_advantage_survives_json(method):
    assert from_json(to_json(method)) == method
