from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.credit.advantage import Standardized
from evolvent.credit.first import FirstOf
from evolvent.errors import BadInput
from evolvent.records import Episode, Origin, Private, Reference, Task, Trace, said
from evolvent.rewards.consensus import Consensus, as_number, as_number_or_words, plurality, plurality_of_others

VOTE = Consensus()


def attempts(answers, truth="a", judge="exact"):
    private = None if truth is None else Private(truth)
    task = Task("t", "f", 1, (said("user", "?"),), private, Reference(f"evolvent.rewards:{judge}"), Origin("hand"))
    return [Episode(f"t/{i}", task, i, (Trace("t", i, "agent", "p", ()),), a) for i, a in enumerate(answers)]


def values(answers, judge=VOTE, **about):
    return [score.value for score in judge(attempts(answers, **about))]


def test_votes_worked_by_hand():
    assert values("aabc") == [1, 1, 0, 0]
    # mean 1/2, every deviation 1/2: population std 1/2, sample std sqrt(4/4 / 3) = 0.577, 0.5 / 0.577 = 0.866
    assert Standardized(ddof=0, eps=0.0)(values("aabc")) == [1, 1, -1, -1]
    assert Standardized(ddof=1, eps=0.0)(values("aabc")) == pytest.approx(
        [0.8660254, 0.8660254, -0.8660254, -0.8660254]
    )
    assert Standardized(ddof=1, eps=1e-6)(values("aaaa")) == [0, 0, 0, 0]


def test_all_vote_although_the_first_alone_are_trained_on():
    # the first three say b by a majority of their own; the label of all seven is a
    scores = values("bbaaaac")
    assert scores == [0, 0, 1, 1, 1, 1, 0]
    # of [0, 0, 1] the mean is 1/3 and the population std sqrt(2)/3: -0.707, -0.707, 1.414
    credit = FirstOf(3, Standardized(ddof=0, eps=0.0))(scores)
    assert credit == pytest.approx([-(0.5**0.5), -(0.5**0.5), 2**0.5, 0, 0, 0, 0])


def test_numbers_that_are_equal_are_one_vote():
    assert values(["0.5", "x=1/2", "50%", "2", "2"]) == [1, 1, 1, 0, 0]
    assert (as_number("none"), as_number_or_words("  no  way "), as_number_or_words(" ")) == (None, "no way", None)


def test_without_any_answer_all_are_worth_nothing():
    for answers in (["", " "], [""]):
        scores = Consensus()(attempts(answers))
        assert [s.value for s in scores] == [0.0] * len(answers)
        assert scores[0].components["label_right"] == scores[0].components["trusted"] == 0.0
        assert scores[0].components["reward_right"] == 1.0
    assert values(["", "a", ""]) == [0, 1, 0]


def test_a_tie_goes_to_what_was_said_first_and_is_told():
    assert plurality(["b", "a", "a", "b"]) == ["b"] * 4
    assert Consensus()(attempts("baab"))[0].components["tie"] == 1.0
    assert Consensus()(attempts("baa"))[0].components["tie"] == 0.0


def test_nobody_votes_for_themselves_where_that_is_asked():
    # the others of each a: b; of b: a, a - so nobody agrees with the others except where two others do
    assert plurality_of_others(["a", "b", "a"]) == ["b", "a", "a"]
    assert values("ab", Consensus(labels=plurality_of_others)) == [0, 0]
    assert values("aabb", Consensus(labels=plurality_of_others)) == [0, 0, 0, 0]
    assert values("aaab", Consensus(labels=plurality_of_others)) == [1, 1, 1, 0]
    assert plurality_of_others(["a"]) == [None]


def test_a_vote_that_is_a_guess_or_has_no_dissent_may_be_worth_nothing():
    guarded = Consensus(least_share=0.5, most_share=0.8)
    assert values("abcd", guarded) == [0] * 4
    assert values("aaaaab", guarded) == [0] * 6
    assert values("aabc", guarded) == [1, 1, 0, 0]
    with pytest.raises(BadInput, match="no such shares"):
        Consensus(least_share=0.9, most_share=0.5)


def test_what_is_told_beside_the_truth():
    # the label a is wrong: its two votes earn a false 1, the right answer b a false 0, c a 0 that is due
    scores = Consensus()(attempts("aabc", truth="b"))
    assert [s.components["reward_right"] for s in scores] == [0, 0, 0, 1]
    told = {k: v for k, v in scores[0].components.items() if k not in ("consensus", "reward_right")}
    assert told == {"majority_ratio": 0.5, "tie": 0.0, "trusted": 1.0, "truth_ratio": 0.25, "label_right": 0.0}


@given(st.lists(st.sampled_from(["1", "2", "1.0", "", "no", "3"]), min_size=1, max_size=9), st.sampled_from("12x"))
def test_the_truth_changes_no_value(answers, truth):
    known = values(answers, truth=truth)
    assert known == values(answers, truth=None) == values(answers, truth="garbage")
    numeric = [s.value for s in Consensus()(attempts(answers, truth="garbage", judge="numeric"))]
    assert numeric == known


def test_unlabelled_tasks_are_judged_without_words_on_the_truth():
    assert "label_right" not in Consensus()(attempts("aab", truth=None))[0].components
    assert "label_right" not in Consensus()(attempts("aab", truth="garbage", judge="numeric"))[0].components


def test_it_survives_json():
    judge = replace(Consensus(), labels=plurality_of_others, canonical=as_number)
    assert from_json(to_json(judge)) == judge
