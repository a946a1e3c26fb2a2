import pytest

from evolvent.evals.contrast import contrast
from evolvent.synthesis.tool_gate import ToolGate, effect, lost_by_chance, mutants_effect


def share(fates, *, is_wrong, column="falls_to_others"):
    chosen = [getattr(fate, column) for fate in fates if (fate.mistake is not None) == is_wrong]
    assert chosen
    return sum(chosen) / len(chosen)


def test_right_tests_remove_wrong_tools_and_no_good_one():
    fates = mutants_effect(1, ToolGate(num_worlds=12, spoilt_frac=0.0))
    assert share(fates, is_wrong=True) > 0.9
    assert share(fates, is_wrong=False) == 0.0
    assert share(fates, is_wrong=True, column="falls_to_own") == 0.0, "a bug that tests share is not found"


def test_tests_that_are_mostly_wrong_remove_good_tools():
    """So the number of good tools that stay is no constant of the experiment."""
    assert share(mutants_effect(1, ToolGate(num_worlds=3, spoilt_frac=0.8)), is_wrong=False) > 0.5


def test_the_same_seed_gives_the_same_fates_and_more_worlds_go_on():
    two, three = (mutants_effect(2, ToolGate(num_worlds=num)) for num in (2, 3))
    assert three[: len(two)] == two == mutants_effect(2, ToolGate(num_worlds=2))


def test_how_many_good_tools_are_lost_to_wrong_tests_by_hand():
    """Of two tests one or two must be wrong: 1 - 0.8 * 0.8 = 0.36. Of three at least two: 3 * 0.04 * 0.8 + 0.008."""
    assert lost_by_chance(0.2, 2) == pytest.approx(0.36)
    assert lost_by_chance(0.2, 3) == pytest.approx(0.104)
    assert lost_by_chance(0.2) == pytest.approx(0.0563, abs=1e-4)
    assert lost_by_chance(0.0) == 0.0


@pytest.mark.slow
def test_the_gate_holds_what_it_promises_on_three_seeds():
    for claims in zip(*(effect(seed) for seed in (0, 1, 2)), strict=True):
        assert contrast(claims).ok, claims[0].claim
