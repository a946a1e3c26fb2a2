from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.errors import BadInput
from evolvent.hive.board import (
    BoardRun,
    Counters,
    count,
    due_for_holdout,
    improvements,
    rank,
)  # fmt: skip
from evolvent.hive.task import Direction

UP, DOWN = Direction.MAXIMIZE, Direction.MINIMIZE


def sha(number):
    return f"{number:040x}"


def run(number, value=None, agent="alice", **more):
    return BoardRun("t", sha(number), agent, number, values=() if value is None else (value,), **more)


NUMBERS = st.floats(-5, 5).map(lambda x: round(x, 1))
RUNS = st.lists(
    st.builds(
        lambda value, agent, is_valid, is_kept, claim: run(
            0, value, agent, is_valid=is_valid, is_kept=is_kept, claim=claim
        ),
        st.none() | NUMBERS, st.sampled_from(["al", "bo", "cy"]), st.booleans(), st.sampled_from([None, True, False]),
        st.none() | NUMBERS,
    ),
    max_size=20,
).map(lambda runs: [replace(r, commit=sha(i + 1), number=i + 1) for i, r in enumerate(runs)])  # fmt: skip
DIRECTIONS = st.sampled_from(list(Direction))


def test_the_best_is_first_and_of_equal_ones_the_earlier():
    runs = [run(1, 0.5), run(2, 0.7), run(3, 0.7), run(4), run(5, 0.1)]
    assert [row.run.number for row in rank(runs, UP)] == [2, 3, 1, 5]
    assert [row.run.number for row in rank(runs, DOWN)] == [5, 1, 2, 3], "where less is better, less is first"
    assert [row.rank for row in rank(runs, UP)] == [1, 2, 3, 4]


def test_a_chain_of_bests_by_hand():
    runs = [run(1, 0.5), run(2, 0.4, "bob"), run(3, 0.6, "bob"), run(4, 0.9, is_valid=False), run(5, 0.6), run(6, 0.7)]
    assert [r.number for r in improvements(runs, UP)] == [1, 3, 6]
    assert [r.number for r in improvements(runs, DOWN)] == [1, 2]
    assert count(runs, UP) == Counters(6, 5, 3, sha(6), 0.7, (("alice", 4), ("bob", 2)))


def test_what_the_comparison_did_not_keep_is_no_improvement_however_it_measured():
    runs = [run(1, 0.5), run(2, 0.9, is_kept=False), run(3, 0.6, is_kept=True)]
    assert [r.number for r in improvements(runs, UP)] == [1, 3]
    assert rank(runs, UP)[0].run.number == 2, "it is still shown with what it measured"


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
    assert [r.run for r in rank(mixed, direction)] == [r.run for r in rank(runs, direction)]


@given(RUNS, DIRECTIONS)
def test_claims_change_nothing_official(runs, direction):
    silent = [replace(r, claim=None) for r in runs]
    assert count(silent, direction) == count(runs, direction)
    assert [r.run.commit for r in rank(silent, direction)] == [r.run.commit for r in rank(runs, direction)]


@given(RUNS, DIRECTIONS)
def test_calling_off_and_on_again_is_as_if_nothing_was(runs, direction):
    official = [r for r in runs if r.is_official]
    for one in official[:3]:
        without = [r for r in runs if r is not one]
        off = [replace(r, is_valid=False) if r is one else r for r in runs]
        assert improvements(off, direction) == improvements(without, direction)
        assert [r.run for r in rank(off, direction)] == [r.run for r in rank(without, direction)]


@given(RUNS)
def test_less_is_better_is_more_is_better_with_the_sign_turned(runs):
    turned = [replace(r, values=tuple(-v for v in r.values)) for r in runs]
    assert [r.run.commit for r in rank(turned, DOWN)] == [r.run.commit for r in rank(runs, UP)]
    assert count(turned, DOWN).num_improvements == count(runs, UP).num_improvements


def test_the_hold_out_is_seen_by_the_final_top_and_by_no_more_runs_ever():
    runs = [run(i, i / 10) for i in range(1, 8)]
    first = due_for_holdout(runs, UP, 3)
    assert [r.number for r in first] == [7, 6, 5]
    looked = [replace(r, holdout=(0.5,)) if r in first else r for r in runs]
    assert due_for_holdout([*looked, run(8, 0.9)], UP, 3) == [], "a new best comes too late for it"
    one_look = [replace(r, holdout=(0.5,)) if r.number == 7 else r for r in runs]
    assert [r.number for r in due_for_holdout(one_look, UP, 3)] == [6, 5]
    called_off = [replace(r, is_valid=not r.holdout) for r in looked]
    assert due_for_holdout(called_off, UP, 3) == [], "calling off gives no look back"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1", True])
@pytest.mark.parametrize("field", ["values", "cases", "holdout"])
def test_nothing_but_finite_numbers_gets_onto_the_board(field, value):
    with pytest.raises(BadInput, match="must be finite"):
        BoardRun("t", sha(1), "a", 1, **{field: (value,)})
