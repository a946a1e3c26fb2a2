import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.errors import BadInput
from evolvent.hive.board import (
    BoardRun,
    Counters,
    add,
    claims,
    contributors,
    count,
    due_for_holdout,
    improvements,
    rank,
)  # fmt: skip
from evolvent.hive.lineage import ancestors, check_lineage, children, find_parent
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


@given(RUNS, DIRECTIONS)
def test_counters_kept_one_by_one_are_what_counting_again_gives(runs, direction):
    counters = Counters()
    for i, one in enumerate(runs):
        counters = add(counters, one, direction)
        assert counters == count(runs[: i + 1], direction)


@given(RUNS, DIRECTIONS, st.randoms())
def test_neither_board_nor_counters_depend_on_the_order_of_the_list(runs, direction, rng):
    mixed = list(runs)
    rng.shuffle(mixed)
    assert count(mixed, direction) == count(runs, direction)
    assert [r.run for r in rank(mixed, direction)] == [r.run for r in rank(runs, direction)]
    assert contributors(mixed, direction) == contributors(runs, direction)


@given(RUNS, DIRECTIONS)
def test_claims_change_nothing_official(runs, direction):
    silent = [replace(r, claim=None) for r in runs]
    assert count(silent, direction) == count(runs, direction)
    assert [r.run.commit for r in rank(silent, direction)] == [r.run.commit for r in rank(runs, direction)]
    assert not {r.commit for r in claims(runs, direction)} & {r.run.commit for r in rank(runs, direction)}


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


@given(RUNS, DIRECTIONS)
def test_the_gains_of_all_add_up_to_the_whole_way(runs, direction):
    chain = improvements(runs, direction)
    whole = direction.sign * (chain[-1].value - chain[0].value) if chain else 0.0
    found = contributors(runs, direction)
    assert sum(one.gain for one in found) == pytest.approx(whole)
    assert sum(one.num_improvements for one in found) == len(chain)
    assert sum(one.num_runs for one in found) == len(runs)


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


def test_a_parent_is_a_run_of_the_same_task():
    runs = [run(1), BoardRun("other", sha(2), "bob", 1), run(0xABCDEF0 << 132), run((0xABCDEF0 << 132) + 1)]
    assert find_parent("t", sha(9), "none", runs) is None and find_parent("t", sha(9), None, runs) is None
    assert find_parent("t", sha(9), sha(1), runs) == sha(1)
    assert find_parent("t", sha(9), sha(1)[:39] + "1", runs) == sha(1)
    for parent, match in [
        (sha(2), "no run of this task"), (sha(3), "no run of this task"), ("abcdef0", "several runs"),
        ("abc", "no name of a parent"), ("../../x", "no name"), (sha(1).upper() + "G", "no name"), (7, "no name"),
        ("", "no name"),
    ]:  # fmt: skip
        with pytest.raises(BadInput, match=match):
            find_parent("t", sha(9), parent, runs)
    with pytest.raises(BadInput, match="on itself"):
        find_parent("t", sha(1), sha(1), runs)


def test_two_tasks_may_hold_the_same_commit():
    check_lineage([run(1), BoardRun("other", sha(1), "bob", 1), run(2, parent=sha(1))])
    with pytest.raises(BadInput, match="there twice"):
        check_lineage([run(1), run(1)])


def test_a_lineage_that_leads_nowhere_or_in_a_circle_is_refused():
    with pytest.raises(BadInput, match="no run of this task"):
        check_lineage([run(1), BoardRun("other", sha(2), "bob", 1, parent=sha(1))])
    with pytest.raises(BadInput, match="circle"):
        check_lineage([run(1, parent=sha(3)), run(2, parent=sha(1)), run(3, parent=sha(2)), run(4, parent=sha(3))])
    with pytest.raises(BadInput, match="circle"):
        check_lineage([run(1, parent=sha(1))])


@given(st.integers(1, 30), st.randoms())
def test_a_lineage_grown_by_submissions_is_sound_and_every_run_leads_to_its_root(num, rng):
    runs = []
    for number in range(1, num + 1):
        runs.append(run(number, parent=sha(rng.randrange(1, number)) if number > 1 and rng.random() < 0.8 else None))
    check_lineage(runs)
    for one in runs:
        chain = ancestors(one.commit, runs)
        assert chain[0] == one and chain[-1].parent is None
        assert [r.number for r in chain] == sorted((r.number for r in chain), reverse=True)
    assert sorted(c for cs in children(runs).values() for c in cs) == [r.commit for r in runs]


def test_a_large_board_is_counted_quickly():
    rng = random.Random(0)
    runs = [run(i, rng.random(), parent=sha(i - 1) if i > 1 else None) for i in range(1, 5001)]
    check_lineage(runs)
    assert len(rank(runs, UP)) == 5000
