import pytest

from evolvent.effects import Arm, Spent
from evolvent.recipes import vapo
from evolvent.recipes.ppo import explained


def finished():
    """An arm of three batches that wrote 10, 20 and 30 tokens."""
    lines = tuple({"num_written": 10 * i, "explained_variance": i / 10} for i in (1, 2, 3))
    return Arm(vapo.build(), {}, lines, {}, Spent(60, 3, 1.5, 0.5))


def test_a_token_of_a_short_answer_earns_the_change_of_value_that_it_brought():
    advantages, targets = vapo.CRITIC.gae([0.0, 0.0, 1.0], [0.2, 0.5, 0.9])
    # 3 tokens: 1 - 1 / (0.05 * 3) is negative, so lambda is 0; 0.5 - 0.2, 0.9 - 0.5, 1 - 0.9
    assert advantages == pytest.approx([0.3, 0.4, 0.1]) and sum(advantages) == pytest.approx(1 - 0.2)
    assert targets == pytest.approx([1.0, 1.0, 1.0]), "the critic's own lambda is 1: what was earned in the end"


def test_batches_of_an_arm_cost_what_led_to_their_end():
    learning = vapo.batches(finished(), 1, 3)
    assert [line["num_written"] for line in learning.lines] == [20, 30]
    assert learning.spent == Spent(60, 2, 1.5, 0.5)  # the first batch was played for them
    assert vapo.batches(finished(), 0, 2).spent == Spent(30, 2, 1.5, 0.5)


def test_a_constant_explains_nothing():
    observed = explained("it explains", finished(), last=2)
    assert observed.treated == (0.2, 0.3) and observed.control == (0.0, 0.0)
