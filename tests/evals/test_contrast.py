from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.errors import BadInput
from evolvent.evals import contrast as module
from evolvent.evals.contrast import Observation, Spent, contrast, holds, interval, verdict


def observed(treated, control, kind="greater", **more):
    return Observation("a claim", kind, "accuracy", tuple(treated), tuple(control), **more)


def constant(gap, num=256, **more):
    """A seed whose every task says the same."""
    return observed([gap] * num, [0.0] * num, **more)


def swap(one):
    kinds = {"greater": "less", "less": "greater", "equal": "equal"}
    return replace(one, kind=kinds[one.kind], treated=one.control, control=one.treated)


def test_a_difference_that_every_task_shows_has_no_spread():
    found = contrast([constant(1.0), constant(1.0), constant(1.0)])
    assert (found.treated, found.control, found.difference, found.low, found.high) == (1.0, 0.0, 1.0, 1.0, 1.0)
    assert found.ok
    assert found.per_seed == (1.0, 1.0, 1.0)


def test_two_seeds_of_one_value_each_are_stretched_by_the_root_of_two():
    # resamples of {0.1, 0.3} average 0.1, 0.2, 0.3 with 1/4, 1/2, 1/4, so 2.5 % and 97.5 % are the outer ones;
    # the deviation 0.1 is stretched by sqrt(2 / 1): 0.2 -+ 0.1414
    found = contrast([constant(0.1), constant(0.3)])
    assert found.difference == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0586, 0.3414), abs=1e-4)


def test_one_seed_has_the_interval_of_its_tasks():
    # half of 256 paired differences are 1: their mean has the standard error 0.5 / 16 = 0.03125, times 1.96 = 0.0613
    low, high = interval([observed([1.0, 0.0] * 128, [0.0] * 256)])
    assert (low, high) == pytest.approx((0.5 - 0.0613, 0.5 + 0.0613), abs=0.005)


def test_pairs_cancel_what_the_arms_share_and_strangers_do_not():
    hard = [1.0, 0.0] * 128
    paired = interval([observed([h + 0.1 for h in hard], hard)])
    # two independent means: the standard error is 0.03125 * sqrt(2) = 0.0442, times 1.96 = 0.0866
    apart = interval([observed([h + 0.1 for h in hard], hard, is_paired=False)])
    assert paired == pytest.approx((0.1, 0.1))
    assert apart == pytest.approx((0.1 - 0.0866, 0.1 + 0.0866), abs=0.006)


def test_groups_and_proposals_may_be_fewer_and_of_different_number():
    found = contrast([observed([1.0, 1.0, 1.0], [0.0, 0.0], unit="proposal", is_paired=False)])
    assert found.difference == 1.0


def test_fewer_than_256_tasks_are_refused():
    with pytest.raises(BadInput, match="255 tasks") as told:
        constant(1.0, num=255)
    assert "256" in str(told.value)


@pytest.mark.parametrize(
    ("words", "make"),
    [
        ("no such kind", lambda: constant(1.0, kind="bigger")),
        ("needs a tolerance", lambda: constant(1.0, kind="equal")),
        ("needs a tolerance", lambda: constant(1.0, tolerance=0.1)),
        ("no number", lambda: constant(float("nan"))),
        ("pairs need the same", lambda: observed([1.0] * 256, [1.0] * 257)),
        ("contrast of no seeds", lambda: contrast([])),
        ("different claims", lambda: contrast([constant(1.0), constant(1.0, kind="less")])),
    ],
)
def test_what_cannot_be_compared_says_why(words, make):
    with pytest.raises(BadInput, match=words):
        make()


def test_one_seed_on_the_wrong_side_is_enough_to_fail():
    gaps = [1.0] * 19 + [-0.01]
    found = contrast([constant(g) for g in gaps])
    assert found.low > 0
    assert not found.ok
    assert found.alone == (True,) * 19 + (False,)


def test_equal_means_within_the_tolerance_that_was_stated():
    def made(*gaps):
        return contrast([constant(g, kind="equal", tolerance=0.05) for g in gaps])

    assert made(0.01, -0.02, 0.0).ok
    assert not made(0.06, -0.06, 0.0).ok
    assert not made(0.06, 0.06, 0.06).ok


def test_less_is_greater_seen_from_the_other_side():
    assert contrast([constant(-1.0, kind="less")] * 3).ok
    assert not contrast([constant(1.0, kind="less")] * 3).ok


def test_unequal_updates_allow_no_claim_and_unequal_tokens_are_told():
    ours = Spent(tokens=1000, updates=10)
    more_updates = contrast([constant(1.0, spent=ours, spent_control=Spent(1000, 11))])
    assert not more_updates.ok
    assert "10 updates against 11" in more_updates.note
    fewer_tokens = contrast([constant(1.0, spent=ours, spent_control=Spent(799, 10))])
    assert fewer_tokens.ok
    assert fewer_tokens.note == "1,000 tokens against 799"
    assert contrast([constant(1.0, spent=ours, spent_control=Spent(800, 10))]).note == ""


def test_the_verdict_is_shown_unstable_or_not_shown():
    good = contrast([constant(1.0)] * 3)
    mixed = contrast([constant(1.0), constant(1.0), constant(-1.0)])
    bad = contrast([constant(-1.0)] * 3)
    assert verdict([good, good]) == "shown"
    assert verdict([good, mixed]) == "unstable"
    assert verdict([mixed, bad]) == "not shown"
    assert {verdict([c]) for c in (good, mixed, bad)} == set(module.VERDICTS)


outcomes = st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=2, max_size=12)
some_seeds = st.lists(outcomes, min_size=1, max_size=4)


def seeds_of(drawn, kind="greater"):
    return [observed([t for t, _ in pairs], [c for _, c in pairs], kind=kind, unit="group") for pairs in drawn]


FEW = 400  # resamples, where their number is not the point


@settings(deadline=None, max_examples=40)
@given(some_seeds)
def test_swapping_the_arms_flips_every_sign(drawn):
    there = contrast(seeds_of(drawn), num_resamples=FEW)
    back = contrast([swap(one) for one in seeds_of(drawn)], num_resamples=FEW)
    assert back.difference == pytest.approx(-there.difference, abs=1e-9)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=1e-9)
    assert back.per_seed == pytest.approx([-d for d in there.per_seed], abs=1e-9)
    assert back.ok == there.ok


@settings(deadline=None, max_examples=40)
@given(some_seeds, st.floats(-3, 3))
def test_what_is_added_to_both_arms_changes_nothing(drawn, shift):
    moved = [[(t + shift, c + shift) for t, c in pairs] for pairs in drawn]
    one, other = contrast(seeds_of(drawn), num_resamples=FEW), contrast(seeds_of(moved), num_resamples=FEW)
    assert (other.difference, other.low, other.high) == pytest.approx((one.difference, one.low, one.high), abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(some_seeds)
def test_the_interval_is_the_same_each_time_and_holds_the_difference(drawn):
    found = contrast(seeds_of(drawn), num_resamples=FEW)
    assert found == contrast(seeds_of(drawn), num_resamples=FEW)
    assert found.low <= found.high
    everything = [t - c for pairs in drawn for t, c in pairs]
    assert min(everything) - 1e-9 <= found.difference <= max(everything) + 1e-9
    if found.ok:
        assert holds(found, found.low, found.high) and found.difference > 0


def simulated(rng, truth, num_seeds, between):
    """Seeds whose true effect is normal around the truth, with 256 noisy tasks each."""
    gaps = [truth + between * rng.normal() + 0.5 * rng.normal(size=256) for _ in range(num_seeds)]
    return [observed(gap, np.zeros(256)) for gap in gaps]


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    hits = [
        low <= 0.1 <= high
        for _ in range(200)
        for low, high in [interval(simulated(rng, 0.1, 8, 0.03), num_resamples=FEW)]
    ]
    assert 0.92 <= np.mean(hits) <= 1.0


def test_without_an_effect_a_claim_of_three_seeds_seldom_holds():
    rng = np.random.default_rng(4)
    fooled = [contrast(simulated(rng, 0.0, 3, 0.03), num_resamples=FEW).ok for _ in range(150)]
    assert np.mean(fooled) <= 0.06
