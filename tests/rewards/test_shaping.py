import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.errors import BadInput
from evolvent.records import Episode, Origin, Outcome, Private, Reference, Score, Task, Trace, Turn, said
from evolvent.rewards import Checked, exact, judge_episodes
from evolvent.rewards.shaping import PerNode, TreeShaping

SHAPE = TreeShaping()  # gamma 0.3, lam 0.5


def test_known_values_of_the_sheet():
    # parent 0, siblings 0 and 1: b = .5 * 0 + .5 * .5 = .25, and 1 + .3 * .75 = 1.225
    assert SHAPE([0, 1, 0, 1], [None, 0, 0, 0])[1] == pytest.approx(1.225)
    # parent 1, a sibling of 1: b = 1, and 0 + .3 * (0 - 1) = -.3
    assert SHAPE([1, 0, 1], [None, 0, 0])[1] == pytest.approx(-0.3)
    assert SHAPE([0.7], [None]) == [0.7], "neither parent nor siblings: left as it is"


def test_what_there_is_alone_is_the_baseline():
    assert SHAPE([0, 1], [None, 0])[1] == pytest.approx(1.3), "no siblings: the parent alone, 1 + .3 * (1 - 0)"
    # made from the problem: the problem earns nothing, so siblings alone; 1 + .3 * (1 - .5)
    assert SHAPE([1, 0, 1], [None, None, None])[0] == pytest.approx(1.15)


def test_a_child_is_compared_with_its_parent_before_shaping():
    """The parent's own shaped value is 1.3, and 1 + .3 * (1 - 1.3) would be .91."""
    assert SHAPE([0, 1, 1], [None, 0, 1]) == pytest.approx([0, 1.3, 1.0])


@st.composite
def trees(draw):
    values = draw(st.lists(st.floats(0, 1), min_size=1, max_size=9))
    parents = [None if i == 0 else draw(st.sampled_from([None, *range(i)])) for i in range(len(values))]
    return values, parents


@given(trees())
def test_shaping_touches_nothing_and_vanishes_with_gamma(tree):
    values, parents = tree
    before = list(values)
    SHAPE(values, parents)
    assert values == before
    assert TreeShaping(gamma=0)(values, parents) == values


@given(trees(), st.floats(0.1, 3))
def test_shaped_values_shift_where_all_values_do(tree, shift):
    """Baselines shift along, so differences stay; what has no baseline shifts as well."""
    values, parents = tree
    moved = SHAPE([value + shift for value in values], parents)
    assert moved == pytest.approx([value + shift for value in SHAPE(values, parents)])


@given(trees())
def test_equal_values_are_left_as_they_are(tree):
    _, parents = tree
    assert SHAPE([0.5] * len(parents), parents) == pytest.approx([0.5] * len(parents))


def test_a_parent_that_comes_later_is_no_tree():
    with pytest.raises(BadInput, match="no tree"):
        SHAPE([0, 1], [1, None])


@pytest.mark.parametrize("wrong", [{"gamma": -1}, {"lam": 1.5}, {"gamma": math.nan}])
def test_numbers_that_cannot_be_are_refused(wrong):
    with pytest.raises(BadInput, match="no such shaping"):
        TreeShaping(**wrong)


# ---------------------------------------------------------------- as a judge


def node(number, parent, seat, text, turn, score=0.0):
    return {"number": number, "parent": parent, "seat": seat, "depth": 1 if parent is None else 2, "text": text,
            "score": score, "words": "", "turn": turn, "num_tokens": 3, "is_whole": True, "is_end": False}  # fmt: skip


def turn(number, is_own):
    tokens = (number, number, number)
    return Turn(
        f"t{number}", None, "a", number, said("assistant", "x"), tokens, (is_own,) * 3, starts_context=not is_own
    )


@pytest.fixture
def episode():
    """a: right, then wrong below its own; b: right below the first."""
    task = Task("t", "f", 1, (said("user", "?"),), Private("7"), Reference("evolvent.rewards:exact"), Origin("x"))
    traces = tuple(
        Trace("t", 0, seat, seat, tuple(turn(n, n % 2 == 1) for n in range(num)))
        for seat, num in (("a", 4), ("b", 2), ("silent", 0))
    )
    nodes = [node(0, None, "a", "7", 1), node(1, 0, "b", "7", 1), node(2, 0, "a", "8", 3)]
    return Episode("t/0", task, 0, traces, "7", {"tree": nodes, "best": 0})


def test_each_seat_earns_for_its_own_nodes(episode):
    [given] = PerNode(Checked(exact))([episode])
    assert given["a"].value == 0.5 and given["b"].value == 1.0 and "silent" not in given
    assert [(s.turn, s.start, s.stop, s.value) for s in given["a"].spans] == [(1, 0, 3, 1.0), (3, 0, 3, 0.0)]
    assert given["a"].components == given["b"].components == {"node 0": 1.0, "node 1": 1.0, "node 2": 0.0}


def test_shaping_reaches_the_spans_and_leaves_the_value(episode):
    """The released code lost the parent, so that shaping changed nothing."""
    [given] = PerNode(Checked(exact), SHAPE)([episode])
    assert given["a"].value == 0.5
    # node 1: parent 1, sibling 0: b = .5; 1.15. Node 2: parent 1, sibling 1: b = 1; -.3
    assert [s.value for s in given["b"].spans] == pytest.approx([1.15])
    assert [s.value for s in given["a"].spans] == pytest.approx([1.0, -0.3])


def test_scores_come_from_the_judge_and_not_from_what_the_search_believed(episode):
    lies = replace(episode, info={"tree": [{**n, "score": 1.0} for n in episode.info["tree"]]})
    assert PerNode(Checked(exact))([lies]) == PerNode(Checked(exact))([episode])


def test_a_fault_in_one_tree_changes_no_other(episode):
    hurt = replace(episode, traces=tuple(replace(t, outcome=Outcome.INFRASTRUCTURE_FAILED) for t in episode.traces))
    judge = PerNode(Checked(exact), SHAPE)
    assert judge_episodes(judge, [hurt, episode])[1] == judge_episodes(judge, [episode])[0]


def test_an_episode_without_a_tree_is_told_so(episode):
    with pytest.raises(BadInput, match="holds no tree"):
        PerNode()([replace(episode, info={})])


def test_a_judge_of_several_roles_cannot_judge_a_node(episode):
    with pytest.raises(BadInput, match="one answer"):
        PerNode(lambda episodes: [{"a": Score(1.0)} for _ in episodes])([episode])
