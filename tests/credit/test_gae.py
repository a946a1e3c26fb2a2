import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.credit.gae import GAE, Fixed, LengthAdaptive, at_the_end, explained_variance, gae, returns
from evolvent.errors import BadInput

REWARDS, VALUES = [0, 0, 0, 1], [0.2, 0.4, 0.5, 0.7]
traces = st.integers(1, 30).flatmap(
    lambda n: st.tuples(*[st.lists(st.floats(-3, 3), min_size=n, max_size=n) for _ in range(2)])
)
shares = st.floats(0, 1)


@pytest.mark.parametrize(
    ("lam", "wanted"),
    [
        # deltas 0.4 - 0.2 = 0.2, 0.1, 0.2, 1 - 0.7 = 0.3
        (0.0, [0.2, 0.1, 0.2, 0.3]),
        # 0.3; 0.2 + 0.3 / 2 = 0.35; 0.1 + 0.35 / 2 = 0.275; 0.2 + 0.275 / 2 = 0.3375
        (0.5, [0.3375, 0.275, 0.35, 0.3]),
        (0.95, [0.7327125, 0.56075, 0.485, 0.3]),
        # return 1 everywhere, less the value
        (1.0, [0.8, 0.6, 0.5, 0.3]),
    ],
)
def test_advantages_worked_by_hand(lam, wanted):
    assert gae(REWARDS, VALUES, gamma=1.0, lam=lam) == pytest.approx(wanted)


def test_a_discount_and_a_cut_trace_worked_by_hand():
    # gamma 1/2: delta_1 = 1 + 0.5 x 4 - 3 = 0; delta_0 = 0 + 0.5 x 3 - 2 = -0.5; A_0 = -0.5 + 0.5 x 0.5 x 0 = -0.5
    assert gae([0, 1], [2, 3], gamma=0.5, lam=0.5, last=4.0) == pytest.approx([-0.5, 0])
    # the same trace ended: delta_1 = 1 - 3 = -2; A_0 = -0.5 + 0.25 x -2 = -1
    assert gae([0, 1], [2, 3], gamma=0.5, lam=0.5) == pytest.approx([-1, -2])


@given(traces)
def test_with_lambda_and_gamma_of_one_the_advantage_is_return_minus_value(trace):
    rewards, values = trace
    to_go = np.cumsum(rewards[::-1])[::-1]
    assert gae(rewards, values, gamma=1.0, lam=1.0) == pytest.approx(to_go - values, abs=1e-9)
    assert returns(rewards) == pytest.approx(to_go, abs=1e-9)


@given(traces, shares, shares)
def test_the_sum_over_all_later_deltas_is_the_definition(trace, gamma, lam):
    rewards, values = trace
    behind = [*values[1:], 0.0]
    deltas = [r + gamma * b - v for r, b, v in zip(rewards, behind, values, strict=True)]
    for t, mine in enumerate(gae(rewards, values, gamma=gamma, lam=lam)):
        wanted = math.fsum((gamma * lam) ** (i - t) * deltas[i] for i in range(t, len(deltas)))
        assert mine == pytest.approx(wanted, abs=1e-9)


@given(traces, shares, shares)
def test_a_critic_that_is_right_leaves_no_advantage(trace, gamma, lam):
    rewards, _ = trace
    assert gae(rewards, returns(rewards, gamma=gamma), gamma=gamma, lam=lam) == pytest.approx(0, abs=1e-9)


@given(traces, shares)
def test_what_a_critic_is_pretrained_on_does_not_depend_on_the_critic(trace, gamma):
    rewards, values = trace
    targets = GAE(policy=Fixed(0.95), gamma=gamma)(rewards, values)[1]
    assert targets == pytest.approx(returns(rewards, gamma=gamma), abs=1e-9)


@pytest.mark.parametrize(("length", "lam"), [(1000, 0.98), (100, 0.8), (40, 0.5), (20, 0.0), (10, 0.0), (1, 0.0)])
def test_lambda_grows_with_the_length_and_is_never_negative(length, lam):
    # 1 - 1 / (0.05 x 100) = 0.8; at 10 tokens the formula says -1
    assert LengthAdaptive()(length) == pytest.approx(lam)
    assert LengthAdaptive(least=0.9)(length) == pytest.approx(max(lam, 0.9))


def test_policy_and_critic_have_lambdas_of_their_own():
    advantages, targets = GAE(policy=Fixed(0.5), critic=Fixed(1.0))(REWARDS, VALUES)
    assert advantages == pytest.approx([0.3375, 0.275, 0.35, 0.3])
    assert targets == pytest.approx([1, 1, 1, 1])  # advantage at lambda 1, plus value
    # with a lambda of 0 the critic only hears of its neighbour: 0.2 + 0.2, 0.1 + 0.4, 0.2 + 0.5, 0.3 + 0.7
    assert GAE(policy=Fixed(1.0), critic=Fixed(0.0))(REWARDS, VALUES)[1] == pytest.approx([0.4, 0.5, 0.7, 1])
    # 80 tokens: lambda 0.75
    rewards, values = at_the_end(1.0, 80), np.full(80, 0.5)
    adaptive = GAE(policy=LengthAdaptive())(rewards, values)[0]
    assert adaptive == pytest.approx(gae(rewards, values, gamma=1.0, lam=0.75))
    assert adaptive[0] == pytest.approx(0.5 * 0.75**79)


def test_a_score_stands_on_the_last_token():
    assert at_the_end(2.0, 3).tolist() == [0, 0, 2]
    assert at_the_end(2.0, 0).tolist() == []
    assert GAE(policy=Fixed(1.0))([], [])[0].tolist() == []


def test_explained_variance_is_one_for_the_truth_and_zero_for_a_constant():
    assert explained_variance([1, 2, 3], [1, 2, 3]) == 1
    assert explained_variance([2, 2, 2], [1, 2, 3]) == pytest.approx(0)
    assert explained_variance([3, 2, 1], [1, 2, 3]) == pytest.approx(-3)  # errors -2, 0, 2 against -1, 0, 1
    assert math.isnan(explained_variance([1, 2], [1, 1]))


def test_what_cannot_be_is_refused():
    with pytest.raises(BadInput, match="differ in shape"):
        gae([1, 2], [1], gamma=1.0, lam=1.0)
    for wrong in (lambda: Fixed(1.1), lambda: LengthAdaptive(alpha=0.0), lambda: LengthAdaptive(least=2.0)):
        with pytest.raises(BadInput):
            wrong()


def test_an_estimator_survives_json():
    method = GAE(policy=LengthAdaptive(0.1, 0.5), critic=Fixed(1.0), gamma=0.99)
    assert from_json(to_json(method)) == method
