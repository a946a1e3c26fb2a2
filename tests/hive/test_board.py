from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.errors import BadInput
from evolvent.hive.board import BoardRun, Counters, count, due_for_holdout, improvements, rank
from evolvent.hive.task import Direction

UP, DOWN = Direction.MAXIMIZE, Direction.MINIMIZE


def sha(number):
    return f"{number:040x}"


def run(number, value=None, **more):
    return BoardRun(sha(number), number, value, **more)


NUMBERS = st.floats(-5, 5).map(lambda x: round(x, 1))
RUNS = st.lists(
    st.builds(
        lambda value, is_valid, is_kept: run(0, value, is_valid=is_valid, is_kept=is_kept),
        st.none() | NUMBERS,
        st.booleans(),
        st.sampled_from([None, True, False]),
    ),
    max_size=20,
).map(lambda runs: [replace(r, commit=sha(i + 1), number=i + 1) for i, r in enumerate(runs)])
DIRECTIONS = st.sampled_from(list(Direction))


def test_the_best_is_first_and_of_equal_ones_the_earlier():
    runs = [run(1, 0.5), run(2, 0.7), run(3, 0.7), run(4), run(5, 0.1)]
    assert [run.number for run in rank(runs, UP)] == [2, 3, 1, 5]
    assert [run.number for run in rank(runs, DOWN)] == [5, 1, 2, 3], "where less is better, less is first"


def test_a_chain_of_bests_by_hand():
    runs = [run(1, 0.5), run(2, 0.4), run(3, 0.6), run(4, 0.9, is_valid=False), run(5, 0.6), run(6, 0.7)]
    assert [r.number for r in improvements(runs, UP)] == [1, 3, 6]
    assert [r.number for r in improvements(runs, DOWN)] == [1, 2]
    assert count(runs, UP) == Counters(5, 3, sha(6), 0.7)


def test_what_the_comparison_did_not_keep_is_no_improvement_however_it_measured():
    runs = [run(1, 0.5), run(2, 0.9, is_kept=False), run(3, 0.6, is_kept=True)]
    assert [r.number for r in improvements(runs, UP)] == [1, 3]
    assert rank(runs, UP)[0].number == 2, "it is still shown with what it measured"


def test_calling_off_the_best_restores_best_and_improvements_exactly():
    before = [run(1, 0.5), run(2, 0.6)]
    after = [*before, run(3, 0.8), run(4, 0.7)]
    called_off = [replace(r, is_valid=r.number != 3) for r in after]
    assert count(called_off[:3], UP).best == sha(2) and count(called_off[:3], UP).num_improvements == 2
    assert count(called_off, UP).best == sha(4), "what came later and was below it comes up"
    assert count([replace(r, is_valid=True) for r in called_off], UP) == count(after, UP)


@given(RUNS, DIRECTIONS, st.randoms())
def test_neither_board_nor_counters_depend_on_the_order_of_the_list(runs, direction, rng):
    mixed = list(runs)
    rng.shuffle(mixed)
    assert count(mixed, direction) == count(runs, direction)
    assert rank(mixed, direction) == rank(runs, direction)


@given(RUNS, DIRECTIONS)
def test_calling_off_and_on_again_is_as_if_nothing_was(runs, direction):
    for one in rank(runs, direction)[:3]:
        without = [r for r in runs if r is not one]
        off = [replace(r, is_valid=False) if r is one else r for r in runs]
        assert improvements(off, direction) == improvements(without, direction)
        assert rank(off, direction) == rank(without, direction)


@given(RUNS)
def test_less_is_better_is_more_is_better_with_the_sign_turned(runs):
    turned = [replace(r, value=None if r.value is None else -r.value) for r in runs]
    assert [r.commit for r in rank(turned, DOWN)] == [r.commit for r in rank(runs, UP)]
    assert count(turned, DOWN).num_improvements == count(runs, UP).num_improvements


def test_the_hold_out_is_seen_by_the_final_top_and_by_no_more_runs_ever():
    runs = [run(i, i / 10) for i in range(1, 8)]
    first = due_for_holdout(runs, UP, 3)
    assert [r.number for r in first] == [7, 6, 5]
    looked = [replace(r, is_looked_at=r in first) for r in runs]
    assert due_for_holdout([*looked, run(8, 0.9)], UP, 3) == [], "a new best comes too late for it"
    one_look = [replace(r, is_looked_at=r.number == 7) for r in runs]
    assert [r.number for r in due_for_holdout(one_look, UP, 3)] == [6, 5]
    called_off = [replace(r, is_valid=not r.is_looked_at) for r in looked]
    assert due_for_holdout(called_off, UP, 3) == [], "calling off gives no look back"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1", True])
def test_nothing_but_finite_numbers_gets_onto_the_board(value):
    with pytest.raises(BadInput, match="must be finite"):
        run(1, value)
