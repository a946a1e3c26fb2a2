import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.credit.across import BatchWhitened, LiveBaseline, MovingBaseline, RoleCentred, by_seat, together
from evolvent.credit.advantage import Centred, as_scored
from evolvent.errors import BadInput

KEYS = [("t1", "white"), ("t1", "black"), ("t2", "white")]
batches = st.lists(
    st.lists(st.integers(-64, 64).map(lambda n: n / 16), min_size=2, max_size=5), min_size=1, max_size=6
).map(lambda groups: (groups, [(f"t{i}", "agent") for i in range(len(groups))]))


def whole(method, groups, keys):
    """Both stages, as a batch is credited."""
    return method.across([method(scores) for scores in groups], keys)


def test_whitening_worked_by_hand():
    # REINFORCE++ on [1, 0] and [1, 1]: mean 3/4, population deviation sqrt(3)/4: 1 -> 0.577, 0 -> -1.732
    plain = BatchWhitened(ddof=0, eps=0.0)
    root = 3**0.5
    keys = [("t1", "agent"), ("t2", "agent")]
    assert whole(plain, [[1, 0], [1, 1]], keys) == [pytest.approx([1 / root, -root]), pytest.approx([1 / root] * 2)]
    # with a group's mean first: 1/2, -1/2, 0, 0; mean 0, deviation sqrt(1/8): 1.414, -1.414, 0, 0
    centred = BatchWhitened(ddof=0, eps=0.0, within=Centred())
    assert whole(centred, [[1, 0], [1, 1]], keys) == [pytest.approx([2**0.5, -(2**0.5)]), [0, 0]]
    # sample deviation of four: sqrt(1/6), so 1.2247
    sample = BatchWhitened(ddof=1, eps=0.0, within=Centred())
    assert whole(sample, [[1, 0], [1, 1]], keys)[0] == pytest.approx([1.5**0.5, -(1.5**0.5)])


@given(batches, st.sampled_from([0, 1]))
def test_whitened_credits_have_mean_zero_and_deviation_one(batch, ddof):
    groups, keys = batch
    flat = [c for group in whole(BatchWhitened(ddof=ddof, eps=0.0), groups, keys) for c in group]
    assert math.fsum(flat) == pytest.approx(0, abs=1e-9)
    if len({s for group in groups for s in group}) > 1:
        assert math.fsum(c * c for c in flat) / (len(flat) - ddof) == pytest.approx(1)
    else:
        assert not any(flat)


@given(batches, st.integers(-640, 640))
def test_only_a_group_baseline_is_blind_to_what_a_task_adds_to_all_its_scores(batch, offset):
    groups, keys = batch
    moved = [[s + offset for s in groups[0]], *groups[1:]]
    centred = BatchWhitened(ddof=0, eps=1e-8, within=Centred())
    for mine, theirs in zip(whole(centred, moved, keys), whole(centred, groups, keys), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-9)
    plain = BatchWhitened(ddof=0, eps=1e-8)
    if abs(offset) > 64 and len(groups) > 1:
        assert whole(plain, moved, keys) != whole(plain, groups, keys)


def test_a_baseline_per_role_compares_a_role_with_itself():
    # white scored 1, 0 and 2: mean 1; black 5 and 7: mean 6
    assert whole(RoleCentred(), [[1, 0], [5, 7], [2]], KEYS) == [[0, -1], [-1, 1], [1]]
    # equal scores of a role carry nothing, to the last bit
    assert whole(RoleCentred(), [[0.1, 0.1], [0.1], [0.1]], KEYS) == [[0, 0], [0], [0]]


def test_whitening_by_seat_scales_each_role_by_itself():
    method = BatchWhitened(ddof=0, eps=0.0, part=by_seat)
    made = whole(method, [[1, 0], [50, 70], [1, 0]], KEYS)
    assert made == [pytest.approx([1, -1]), pytest.approx([-1, 1]), pytest.approx([1, -1])]


def test_a_moving_baseline_worked_by_hand():
    live = MovingBaseline(decay=0.5).begin()
    # nothing is known yet: the baseline is 0; then 0.5 x 0 + 0.5 x mean: white (1 + 0 + 2) / 3 = 1 -> 0.5, black 6 -> 3
    assert whole(live, [[1, 0], [5, 7], [2]], KEYS) == [[1, 0], [5, 7], [2]]
    assert live.baselines == {"white": 0.5, "black": 3.0}
    assert whole(live, [[1, 0], [5, 7], [2]], KEYS) == [[0.5, -0.5], [2, 4], [1.5]]
    assert live.baselines == {"white": 0.75, "black": 4.5}


def test_a_moving_baseline_comes_to_rest_at_the_mean():
    live = MovingBaseline(decay=0.9, part=together).begin()
    for _ in range(200):
        last = whole(live, [[3.0, 1.0]], [("t", "agent")])
    assert last == [pytest.approx([1, -1], abs=1e-6)]


def test_a_moving_baseline_goes_on_where_it_was_saved():
    plan = MovingBaseline(decay=0.5, start=1.0)
    one = plan.begin()
    whole(one, [[1, 0], [5, 7]], KEYS[:2])
    other = plan.begin()
    other.restore(from_json(to_json(one.state())))
    assert isinstance(other, LiveBaseline) and other.state() == one.state()
    assert whole(other, [[2], [3]], KEYS[:2]) == whole(one, [[2], [3]], KEYS[:2])
    one.state()["baselines"]["white"] = 99.0
    assert other.state() == one.state(), "a state is a copy"


@pytest.mark.parametrize("method", [BatchWhitened(0, 0.0), RoleCentred(), MovingBaseline().begin()])
def test_a_group_that_faults_left_empty_is_no_mistake(method):
    assert method.across([[1.0, 0.0], []], KEYS[:2])[1] == []


def test_numbers_that_cannot_be_are_refused():
    for wrong in ({"ddof": 2, "eps": 0.1}, {"ddof": 1, "eps": -1.0}):
        with pytest.raises(BadInput):
            BatchWhitened(**wrong)
    for decay in (-0.1, 1.0):
        with pytest.raises(BadInput):
            MovingBaseline(decay=decay)


def test_the_first_stage_says_how_large_a_group_must_be():
    assert BatchWhitened(0, 0.0).min_group == 1
    assert BatchWhitened(0, 0.0, within=Centred()).min_group == 2


@pytest.mark.parametrize(
    "method",
    [BatchWhitened(1, 1e-8, Centred(), by_seat), BatchWhitened(0, 0.0, as_scored), RoleCentred(), MovingBaseline()],
)
def test_a_baseline_survives_json(method):
    assert from_json(to_json(method)) == method
