from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.credit.admission import Admitted, Complete, Fresh, Spread, admit
from evolvent.errors import BadInput
from evolvent.records import Group, Message, Outcome, Score, Text, Trace, Turn


def turn(version):
    return Turn("t", None, "agent", 0, Message("assistant", (Text(""),)), (1,), (True,), version=version)


def group(*scores, versions=(0,), task="task"):
    made = (
        Trace(task, i, "agent", "p", tuple(turn(v) for v in versions), score=None if s is None else Score(s))
        for i, s in enumerate(scores)
    )
    return Group((task, "agent"), tuple(made))


def test_a_group_whose_scores_are_equal_has_no_spread():
    assert Spread()(group(1.0, 0.0))
    assert not Spread()(group(1.0, 1.0, 1.0))
    assert not Spread()(group(1.0, None))
    assert not Spread()(group(None, None))
    assert not Spread(least=0.1)(group(0.5, 0.55))


def test_a_group_is_complete_when_enough_attempts_were_judged():
    whole = group(1.0, 0.0, 0.0)
    assert Complete(3)(whole) and not Complete(4)(whole)
    assert not Complete(3)(group(1.0, 0.0, None))
    broken = replace(whole.traces[0], outcome=Outcome.INFRASTRUCTURE_FAILED)
    assert not Complete(3)(replace(whole, traces=(broken, *whole.traces[1:])))


@pytest.mark.parametrize(
    ("versions", "is_fresh"),
    [((7,), True), ((5, 7), True), ((4,), False), ((7, 4), False), ((8,), False), ((-1, 7), True), ((-1,), True)],
)
def test_a_group_is_fresh_when_no_token_is_too_old_and_none_from_the_future(versions, is_fresh):
    # -1: words that no policy of ours sampled
    assert Fresh(version=7, max_staleness=2)(group(1.0, 0.0, versions=versions)) == is_fresh


def test_what_was_refused_is_counted_once_by_the_first_that_refused():
    groups = [group(1.0, 0.0, task="a"), group(1.0, 1.0, task="b"), group(1.0, task="c"), group(0.0, 1.0, task="d")]
    made = admit(groups, [Complete(2), Spread()])
    assert [g.key[0] for g in made.groups] == ["a", "d"]
    assert made.refused == {"complete": 1, "spread": 1}
    assert made.share == 0.5
    assert admit(groups, []).groups == tuple(groups)
    assert Admitted((), {}).share == 0.0


@given(st.lists(st.lists(st.sampled_from([0.0, 1.0, None]), min_size=1, max_size=4), max_size=8))
def test_every_group_is_kept_or_counted(scores):
    groups = [group(*values, task=str(i)) for i, values in enumerate(scores)]
    made = admit(groups, [Complete(2), Spread()])
    assert len(made.groups) + sum(made.refused.values()) == len(groups)
    assert all(Spread()(g) for g in made.groups)


def test_a_staleness_below_zero_is_refused():
    with pytest.raises(BadInput):
        Fresh(version=1, max_staleness=-1)


@pytest.mark.parametrize("predicate", [Spread(0.1), Complete(8), Fresh(3, 1)])
def test_a_predicate_survives_json(predicate):
    assert from_json(to_json(predicate)) == predicate
