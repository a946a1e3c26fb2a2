import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.errors import BadInput
from evolvent.hive.noise import KeepRule, bet, fresh_seeds, sign_flip
from evolvent.hive.task import Direction

UP, DOWN = Direction.MAXIMIZE, Direction.MINIMIZE
NUM_CAMPAIGNS, NUM_TRIES = 250, 20


def pure_noise(rng, num):
    """Measurements of something at a true rate of 0.20, 20 cases each."""
    return [sum(rng.random() < 0.2 for _ in range(20)) / 20 for _ in range(num)]


def share_that_ever_keep(decide):
    """Of campaigns of tries that are no better than their incumbent, the share in which one is kept."""
    kept = 0
    for number in range(NUM_CAMPAIGNS):
        rng = random.Random(number)
        kept += any(decide(rng, k) for k in range(1, NUM_TRIES + 1))
    return kept / NUM_CAMPAIGNS


@pytest.mark.parametrize("extra", [0, pytest.param(4, marks=pytest.mark.slow)])
def test_under_pure_noise_the_share_of_campaigns_that_ever_keep_is_at_most_alpha(extra):
    rule = KeepRule(alpha=0.2)
    pairs = {k: rule.num_pairs(k) + extra for k in range(1, NUM_TRIES + 1)}

    def decide(rng, k):
        return rule.decide(pure_noise(rng, pairs[k]), pure_noise(rng, pairs[k]), number=k, direction=UP).is_kept

    share = share_that_ever_keep(decide)
    assert share <= 0.2 + 3 * math.sqrt(0.2 * 0.8 / NUM_CAMPAIGNS), share


def test_without_the_rule_pure_noise_is_kept_nearly_always():
    assert share_that_ever_keep(lambda rng, _: sum(pure_noise(rng, 3)) > sum(pure_noise(rng, 3))) > 0.95


def test_without_the_correction_for_tries_pure_noise_is_kept_more_often_than_alpha():
    level = 0.2

    def decide(rng, _):
        gains = [a - b for a, b in zip(pure_noise(rng, 6), pure_noise(rng, 6), strict=True)]
        return sign_flip(gains) <= level

    assert share_that_ever_keep(decide) > 0.6


def test_a_true_gain_is_kept():
    rule, kept = KeepRule(), 0
    for seed in range(50):
        rng = random.Random(seed)
        base = [rng.gauss(0.5, 0.1) for _ in range(20)]
        better = [b + 0.03 + rng.gauss(0, 0.02) for b in base]
        kept += rule.decide(better, base, number=10, direction=UP).is_kept
    assert kept >= 45, kept


def gambler(rng, num):
    """Wins a little nine times in ten, and loses much else: worse in the mean by 0.09."""
    return [0.01 if rng.random() < 0.9 else -1.0 for _ in range(num)]


def test_betting_never_keeps_a_gambler_and_the_sign_flip_does():
    bets, flips = KeepRule(alpha=0.2, width=1.0), KeepRule(alpha=0.2)
    assert share_that_ever_keep(lambda rng, k: bets._p(gambler(rng, 40)) <= bets.level(k)) <= 0.2
    few = share_that_ever_keep(lambda rng, k: flips._p(gambler(rng, flips.num_pairs(k))) <= flips.level(k))
    assert few > 0.2, f"{few}: the docs say that the default rule does not see this"


def test_betting_on_a_fair_coin_is_seldom_right_at_any_moment():
    alpha, wins = 0.1, 0
    for seed in range(500):
        rng = random.Random(seed)
        wins += bet([rng.choice([-1.0, 1.0]) for _ in range(200)], 1.0) <= alpha  # bet looks after every pair
    assert wins / 500 <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / 500)


def test_betting_sees_a_true_gain():
    rng = random.Random(0)
    assert bet([rng.uniform(-0.3, 0.7) for _ in range(100)], 1.0) < 1e-4


def test_signs_are_counted_as_by_hand():
    # sums of +-1 +-2 +-3: 6 is reached by one of eight, 4 or more by two (6 and 1-... -1+2+3), 0 or more by five
    assert sign_flip([1, 2, 3]) == 1 / 8
    assert sign_flip([-1, 2, 3]) == 2 / 8
    assert sign_flip([1, 2, -3]) == 5 / 8
    assert sign_flip([0.1, 0.2, 0.3]) == 1 / 8, "rounding decides nothing"
    assert sign_flip([1.0] * 36) == pytest.approx(2**-36)


# in steps of a thousandth: sums are equal, or clearly apart
GAINS = st.floats(-1, 1).map(lambda x: round(x, 3))


@given(st.lists(GAINS, min_size=1, max_size=12))
def test_the_two_halves_count_what_all_signs_together_do(gains):
    sums = [0.0]
    for gain in gains:
        sums = [s + gain for s in sums] + [s - gain for s in sums]
    slack = 1e-9 * sum(map(abs, gains))
    reached = sum(s >= sum(gains) - slack for s in sums) / len(sums)
    assert sign_flip(gains) == pytest.approx(reached, abs=1e-12), gains
    assert sign_flip(gains) >= 1 / len(sums)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=14))
def test_hoeffdings_bound_is_never_below_the_exact_chance(gains):
    if largest := max(map(abs, gains)):
        units = [gain / largest for gain in gains]
        bound = math.exp(-(max(sum(units), 0.0) ** 2) / (2 * sum(unit * unit for unit in units)))
        assert sign_flip(gains) <= bound + 1e-6


@given(st.lists(GAINS, min_size=1, max_size=10), st.sampled_from([2.0**-900, 2.0**-30, 2.0**900]))
def test_the_unit_of_the_metric_decides_nothing(gains, unit):
    assert sign_flip([gain * unit for gain in gains]) == sign_flip(gains)


@given(st.floats(0.001, 0.9), st.integers(1, 2000))
def test_the_levels_never_add_up_to_more_than_alpha(alpha, num):
    rule = KeepRule(alpha=alpha)
    assert math.fsum(rule.level(k) for k in range(1, num + 1)) <= alpha


def test_more_tries_need_more_seeds_and_too_few_say_so():
    rule = KeepRule()
    assert [rule.num_pairs(k) for k in (1, 10, 100)] == [6, 12, 18]
    decision = rule.decide([1.0] * 5, [0.0] * 5, number=1, direction=UP)
    assert not decision.is_kept and decision.why == "5 seeds cannot decide comparison 1: it needs 6"
    kept = rule.decide([1.0] * 6, [0.0] * 6, number=1, direction=UP)
    assert kept.is_kept and kept.why.startswith("better on 6 of 6 seeds") and kept.gain.value == 1.0


@pytest.mark.parametrize("number", [1, 100, 10_000, 14_653, 14_654, 20_000, 58_616, 100_000])
@pytest.mark.parametrize("width", [None, 2.0])
def test_a_comparison_is_given_as_many_seeds_as_can_decide_it(number, width):
    rule = KeepRule(width=width)
    num = rule.num_seeds(number)
    assert num >= rule.num_pairs(number) + rule.num_spare
    assert rule.decide([width or 1.0] * num, [0.0] * num, number=number, direction=UP).is_kept, num


def test_where_less_is_better_less_is_kept():
    less, more = [1.0, 1.1, 1.2, 1.0, 1.1, 1.2], [2.0, 2.1, 2.2, 2.0, 2.1, 2.2]
    rule = KeepRule()
    assert rule.decide(less, more, number=1, direction=DOWN).is_kept
    assert not rule.decide(more, less, number=1, direction=DOWN).is_kept
    assert not rule.decide(less, less, number=1, direction=DOWN).is_kept


def test_fresh_seeds_are_never_asked_twice_and_depend_on_the_secret():
    drawn = [fresh_seeds(1, "digest", number, 8) for number in range(50)]
    assert len({seed for seeds in drawn for seed in seeds}) == 400
    assert fresh_seeds(1, "digest", 3, 8) == drawn[3] and fresh_seeds(1, "digest", 3, 4) == drawn[3][:4]
    assert fresh_seeds(2, "digest", 3, 8) != drawn[3] != fresh_seeds(1, "other", 3, 8)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: KeepRule(alpha=0.0), "false-positive rate"),
        (lambda: KeepRule(width=-1.0), "no width"),
        (lambda: KeepRule().level(0), "counted from 1"),
        (lambda: KeepRule().decide([1.0], [], number=1, direction=UP), "the same seeds"),
        (lambda: KeepRule().decide([math.nan], [1.0], number=1, direction=UP), "finite"),
        (lambda: bet([2.0], 1.0), "wider than the metric"),
    ],
)
def test_what_cannot_be_compared_is_refused(call, match):
    with pytest.raises(BadInput, match=match):
        call()
