import random

import pytest

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput
from evolvent.records import Episode, Message, Origin, Private, Reference, Span, Task, Text, ToolCall, Trace, Turn, said
from evolvent.rewards import by_task, judge_episodes
from evolvent.rewards.process import (
    FromTree,
    SplitAfter,
    alike,
    beam_search,
    best_of,
    count_by_depth,
    grow,
    last,
    least,
    mean,
    sibling_pairs,
    split_sentences,
    whole_pairs,
)

# leaves 1, 1, 0 under A and 0 under B: V(A) = 2/3, V(B) = 0, V(root) = 2/4
ATTEMPTS = [("A", "x"), ("A", "x"), ("A", "y"), ("B", "z")]
REWARDS = [1.0, 1.0, 0.0, 0.0]


def value_of(tree, *steps):
    at = 0
    for step in steps:
        (at,) = [i for i, node in enumerate(tree.nodes) if i and node.parent == at and node.step == step]
    return tree.nodes[at].value


def test_values_are_means_of_the_leaves_below() -> None:
    tree = grow(ATTEMPTS, REWARDS)
    assert tree.nodes[0].value == 0.5
    assert value_of(tree, "A") == pytest.approx(2 / 3)
    assert value_of(tree, "B") == 0.0
    assert (value_of(tree, "A", "x"), value_of(tree, "A", "y")) == (1.0, 0.0)
    assert [node.depth for node in tree.nodes] == [0, 1, 2, 2, 1, 2]
    assert tree.nodes[1].leaves == (0, 1, 2)


def test_siblings_make_pairs_and_nothing_is_compared_across_prefixes() -> None:
    attempts, rewards = [("A",), ("A",), ("A",), ("B",)], REWARDS
    (pair,) = sibling_pairs(grow(attempts, rewards), delta=0.5)
    assert (pair.prefix, pair.chosen, pair.rejected, pair.depth, pair.num_leaves) == ((), "A", "B", 1, 1)
    assert pair.margin == pytest.approx(2 / 3)
    deep = sibling_pairs(grow(ATTEMPTS, REWARDS), delta=0.1)
    assert [(p.prefix, p.chosen, p.rejected) for p in deep] == [((), "A", "B"), (("A",), "x", "y")]
    assert count_by_depth(deep) == {1: 1, 2: 1}
    # x and z differ by 1, but stand after A and after B
    assert not any({"x", "z"} == {p.chosen, p.rejected} for p in deep)


def test_a_margin_must_exceed_delta() -> None:
    tree = grow([("A",), ("A",), ("B",), ("B",)], [1, 1, 1, 0])
    assert sibling_pairs(tree, delta=0.5) == []
    assert len(sibling_pairs(tree, delta=0.49)) == 1


def test_values_of_few_leaves_are_no_pairs_where_that_is_asked_for() -> None:
    tree = grow(ATTEMPTS, REWARDS)
    assert [p.num_leaves for p in sibling_pairs(tree, 0.1)] == [1, 1]
    assert sibling_pairs(tree, 0.1, min_leaves=2) == []


def test_whole_answers_are_the_tree_of_depth_one() -> None:
    answers, rewards = ["good", "bad", "worse"], [1.0, 0.5, 0.0]
    pairs = whole_pairs(answers, rewards, 0.6)
    assert pairs == sibling_pairs(grow([(a,) for a in answers], rewards), 0.6)
    assert [(p.prefix, p.chosen, p.rejected, p.depth) for p in pairs] == [((), "good", "worse", 1)]


def test_whole_answers_are_scored_one_by_one_where_a_tree_would_merge_them() -> None:
    answers, rewards = ["a", "a", "b"], [1.0, 0.0, 0.0]
    assert [(p.chosen, p.rejected, p.margin) for p in whole_pairs(answers, rewards, 0.1)] == [("a", "b", 1.0)]
    assert [p.margin for p in sibling_pairs(grow([(a,) for a in answers], rewards), 0.1)] == [0.5]


def test_gains_add_up_to_the_leaf_less_the_root() -> None:
    tree = grow(ATTEMPTS, REWARDS)
    assert tree.gains(0) == pytest.approx((2 / 3 - 1 / 2, 1 / 3))
    for attempt, path in enumerate(tree.paths):
        assert sum(tree.gains(attempt)) == pytest.approx(tree.nodes[path[-1]].value - tree.nodes[0].value)


def test_the_order_of_attempts_does_not_matter_where_words_are_the_same() -> None:
    order = random.Random(0).sample(range(4), 4)
    tree, other = grow(ATTEMPTS, REWARDS), grow([ATTEMPTS[i] for i in order], [REWARDS[i] for i in order])
    assert {(tree.prefix(i), n.step, n.value) for i, n in enumerate(tree.nodes)} == {
        (other.prefix(i), n.step, n.value) for i, n in enumerate(other.nodes)
    }


def test_similar_steps_meet_below_their_threshold_and_the_tree_is_a_star_above_it() -> None:
    attempts = [("We add two and three.", "It is 5."), ("we add two  and three!", "It is 6.")]
    assert alike("Add  two", "add two") == 1.0
    assert 0.9 < alike(attempts[0][0], attempts[1][0]) < 1.0  # 2 * 16 / 34
    merged, star = (sibling_pairs(grow(attempts, [1.0, 0.0], tau), 0.5) for tau in (0.9, 1.0))
    assert [(p.depth, p.prefix) for p in merged] == [(2, ("We add two and three.",))]
    assert [p.depth for p in star] == [1]


def test_splitters_lose_nothing() -> None:
    text = "It costs 3.5 in all. Is it?\nYes! so"
    assert split_sentences(text) == ("It costs 3.5 in all. ", "Is it?\n", "Yes! ", "so")
    assert "".join(split_sentences(text)) == text
    assert SplitAfter(";")("a=1;b=2;c") == ("a=1;", "b=2;", "c")


def test_what_makes_no_tree_is_refused() -> None:
    with pytest.raises(BadInput, match="reward each"):
        grow([("A",)], [])
    with pytest.raises(BadInput, match="similarity"):
        grow([("A",)], [1.0], tau=0.0)


# ---------------------------------------------------------------- the judge


def spoken(*turns):
    """Heard, said, heard, said: two tokens a turn."""
    made = []
    for i, message in enumerate(turns):
        made += [
            Turn(str(2 * i), None, "agent", 2 * i, said("user", "q"), (1, 2), (False, False), starts_context=i == 0),
            Turn(str(2 * i + 1), None, "agent", 2 * i + 1, message, (3,) * (2 + i), (True,) * (2 + i)),
        ]
    return tuple(made)


def called(expression):
    return Message("assistant", (ToolCall("calc", {"expression": expression}),))


def episodes():
    task = Task("t", "f", 1, (said("user", "?"),), Private("4"), Reference("evolvent.rewards:exact"), Origin("hand"))
    told = [("2+2", "4"), ("2+2", "4"), ("2+2", "5"), ("2+3", "5")]
    return [
        Episode(f"e{i}", task, i, (Trace("t", i, "agent", "p", spoken(called(c), said("assistant", a))),), a)
        for i, (c, a) in enumerate(told)
    ]


def test_a_judge_gives_every_turn_what_it_gained() -> None:
    scores = [e.traces[0].score for e in judge_episodes(FromTree(by_task), episodes())]
    assert [s.value for s in scores] == [1, 1, 0, 0]
    # root 1/2; 2+2 leads to 1, 1, 0: V = 2/3; 2+3 leads to 0
    assert scores[0].spans == (Span(1, 0, 2, pytest.approx(1 / 6)), Span(3, 0, 3, pytest.approx(1 / 3)))
    assert scores[2].spans == (Span(1, 0, 2, pytest.approx(1 / 6)), Span(3, 0, 3, pytest.approx(-2 / 3)))
    assert scores[3].spans == (Span(1, 0, 2, -0.5), Span(3, 0, 3, 0.0))
    assert from_json(to_json(FromTree(by_task, 0.9))) == FromTree(by_task, 0.9)


def test_a_team_has_no_scores_of_steps() -> None:
    (one, *_) = episodes()
    two = Episode("e", one.task, 0, (*one.traces, *one.traces), "4")
    with pytest.raises(BadInput, match="one agent"):
        FromTree(by_task)([two])


def test_calls_that_could_not_be_read_are_steps_too() -> None:
    message = Message("assistant", (Text("so"), ToolCall("calc", None, "2+")))
    task = episodes()[0].task
    one = Episode("e", task, 0, (Trace("t", 0, "agent", "p", spoken(message)),), "4")
    (score,) = FromTree(by_task)([one])
    assert score.spans == (Span(1, 0, 2, 0.0),)


# ---------------------------------------------------------------- using scores


def test_a_candidate_is_as_good_as_its_worst_its_mean_or_its_last_step() -> None:
    steps = (3.0, 0.0, 6.0)
    assert (least(steps), mean(steps), last(steps)) == (0.0, 3.0, 6.0)
    candidates = [(3.0, 0.0, 6.0), (2.0, 2.0, 2.0), (1.0, 1.0, 2.0)]
    assert [best_of(candidates, whole) for whole in (least, mean, last)] == [1, 0, 0]


def test_a_beam_keeps_what_a_greedy_search_would_lose() -> None:
    # worth after one step: a 2, b 1; after two: aa 2, ab 2, ba 5, bb 0
    worth = {"a": 2, "b": 1, "aa": 2, "ab": 2, "ba": 5, "bb": 0}

    def expand(number, beam):
        return [state + step for state in beam for step in "ab"]

    def score(states):
        return [worth[state] for _, state in states]

    assert beam_search(["", ""], expand, score, width=1, num_steps=2) == ["aa", "aa"]
    assert beam_search([""], expand, score, width=2, num_steps=2) == ["ba"]


def test_a_search_that_cannot_go_on_keeps_its_best() -> None:
    assert beam_search(["x"], lambda n, beam: [], lambda states: [], width=2, num_steps=3) == ["x"]
