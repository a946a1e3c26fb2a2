import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.credit.advantage import Centred, Standardized, as_scored
from evolvent.credit.first import FirstOf
from evolvent.errors import BadInput


def test_the_baseline_is_that_of_the_first_and_the_others_get_nothing():
    # mean of the first two 1/2; what comes behind them does not count
    assert FirstOf(2, Centred())([1, 0, 0, 0]) == [0.5, -0.5, 0, 0]
    assert FirstOf(2, Centred())([1, 1, 0, 0]) == [0, 0, 0, 0]
    assert FirstOf(1, as_scored)([3, 4]) == [3, 0]


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=8))
def test_a_group_that_is_not_larger_is_trained_on_whole(scores):
    within = Standardized(ddof=1, eps=1e-6)
    assert FirstOf(8, within)(scores) == within(scores)


def test_it_needs_what_its_part_needs_and_survives_json():
    advantage = FirstOf(4, Standardized(ddof=0, eps=0.0))
    assert advantage.min_group == 2
    assert from_json(to_json(advantage)) == advantage
    with pytest.raises(BadInput, match="too few attempts"):
        FirstOf(1, Centred())
