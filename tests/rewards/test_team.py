"""A judge in the team: how its words become a number, and what that is mixed with."""

import pytest

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput
from evolvent.records import Episode, Origin, Outcome, Private, Reference, Task, Trace, said
from evolvent.rewards import judge_episodes
from evolvent.rewards.team import Rated, read_score

TASK = Task("t", "f", 1, (said("user", "q"),), Private("1"), Reference("evolvent.rewards:exact"), Origin("test"))


def judged(answer, words, weight=0.5):
    lines = tuple(
        {"seat": seat, "turns": (), "round": 0, "depth": i, "words": text, "heard": ()}
        for i, (seat, text) in enumerate([("agent", answer), ("judge", words)])
    )
    traces = tuple(Trace("t", 0, seat, seat, ()) for seat in ("agent", "judge"))
    [episode] = judge_episodes(Rated(weight), [Episode("t/0", TASK, 0, traces, answer, {"transcript": lines})])
    return episode


@pytest.mark.parametrize(
    ("words", "share"),
    [
        ("7/10", 0.7),
        ("I would say 3 out of 10, no: 8 out of 10.", 0.8),
        ("Score: 7", 0.7),
        ("the rating is 4.5", 0.45),
        ("12/10", 1.0),
        ("-3/10", 0.0),
        ("This is correct.", 1.0),
        ("This is not correct.", 0.0),
        ("incorrect", 0.0),
        ("hm", None),
        ("7/100 of them", None),
    ],
)
def test_how_the_words_of_a_judge_are_read(words, share):
    assert read_score(words) == share


def test_a_judge_and_a_rule_are_mixed_by_weight():
    assert judged("1", "4/10").traces[0].score.value == pytest.approx(0.5 * 0.4 + 0.5 * 1)
    assert judged("0", "4/10", weight=0.25).traces[0].score.value == pytest.approx(0.1)
    assert judged("1", "4/10").traces[0].score.components == {"judge": 0.4, "rule": 1.0}


def test_the_judge_itself_earns_nothing():
    assert judged("1", "4/10").traces[1].score is None


def test_a_judge_that_cannot_be_read_is_a_fault_and_no_score():
    episode = judged("1", "hm")
    assert {trace.outcome for trace in episode.traces} == {Outcome.VERIFIER_FAILED}
    assert "no score" in episode.traces[0].fault.why


def test_odd_weights_are_refused_and_it_goes_through_json():
    with pytest.raises(BadInput, match="not a share"):
        Rated(1.5)
    assert from_json(to_json(Rated(0.3, "a", "b"))) == Rated(0.3, "a", "b")
