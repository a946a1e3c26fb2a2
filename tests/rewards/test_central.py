"""Central rewards: the tables of the sheet, whom a turn is compared with, verifiers, votes of a team, and groups."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.credit.advantage import Standardized
from evolvent.credit.batch import assign
from evolvent.credit.turns import PerTurn
from evolvent.errors import BadInput
from evolvent.evals.describe import describe
from evolvent.records import Episode, Origin, Private, Reference, Task, Trace, Turn, said
from evolvent.rewards import by_task, judge_episodes
from evolvent.rewards.central import (
    Central,
    all_earlier_rounds,
    margin,
    own_earlier_rounds,
    quality,
    read_verdict,
    same_trajectory,
)
from evolvent.rewards.consensus import Consensus

HALF = math.sqrt(0.5)
TASK = Task("t", "f", 1, (said("user", "q"),), Private("1"), Reference("evolvent.rewards:exact"), Origin("test"))


def episode(lines, answer=None, sample=0, task=TASK):
    """An episode whose turns say these things: (seat, round, depth, words, heard)."""
    turns, minutes = {}, []
    for seat, number, depth, words, heard in lines:
        mine = turns.setdefault(seat, [])
        for role, text in (("user", "q"), ("assistant", words)):
            n, is_spoken = len(mine), role == "assistant"
            mine.append(
                Turn(f"{seat}{n}", None, seat, n, said(role, text), (7, 8), (is_spoken,) * 2, starts_context=n == 0)
            )
        minutes.append(
            {"seat": seat, "turns": (len(mine) - 1,), "round": number, "depth": depth, "words": words, "heard": heard}
        )
    traces = tuple(Trace(task.task_id, sample, seat, "agent", tuple(found)) for seat, found in turns.items())
    said_last = lines[-1][3] if answer is None else answer
    return Episode(f"t/{sample}", task, sample, traces, said_last, {"transcript": tuple(minutes)})


def chain(generator, verdict, refiner, sample=0):
    lines = [("g", 0, 0, generator, ()), ("v", 0, 1, verdict, (0,)), ("r", 0, 2, refiner, (0, 1))]
    return episode(lines, sample=sample)


def debate(*rounds):
    """Each round gives what each debater says."""
    lines = [
        (f"d{seat}", number, number, words, ())
        for number, said_in in enumerate(rounds)
        for seat, words in enumerate(said_in)
    ]
    return episode(lines)


def paid(score):
    return [span.value for span in score.spans]


@pytest.mark.parametrize(
    ("shape", "table"),
    [
        (margin, {(1, 0): 1.5, (1, 1): 1, (0, 1): -0.5, (0, 0): 0, (1, 0.5): 1.25}),
        (quality, {(1, 0): 1, (1, 1): 1.5, (0, 1): 0, (0, 0): -0.5, (1, 0.5): 1.25}),
    ],
)
def test_the_table_of_the_sheet(shape, table):
    """At alpha = 0.5, by (R, Q): two debaters before, then the turn that is paid."""
    for (reward, before), wanted in table.items():
        firsts = {0: ("0", "0"), 1: ("1", "1"), 0.5: ("1", "0")}[before]
        played = debate(firsts, (str(reward), "x"))
        [scores] = Central(all_earlier_rounds, shape)([played])
        assert paid(scores["d0"])[1] == pytest.approx(wanted), (shape, reward, before)
        assert paid(scores["d0"])[0] == float(firsts[0] == "1"), "a first turn is never shaped"


def test_the_scope_says_what_a_turn_is_compared_with():
    played = debate(("1", "0", "0"), ("1", "0", "0"))
    q = {
        scope: paid(Central(scope, margin)([played])[0]["d0"])[1]
        for scope in (same_trajectory, all_earlier_rounds, own_earlier_rounds)
    }
    assert q[own_earlier_rounds] == 1.0  # R 1, Q 1
    assert q[all_earlier_rounds] == q[same_trajectory] == pytest.approx(1 + 0.5 * (1 - 1 / 3))


def test_proposers_side_by_side_are_not_shaped_and_their_aggregator_is():
    lines = [("p1", 0, 0, "1", ()), ("p2", 0, 0, "0", ()), ("a", 1, 1, "1", (0, 1))]
    [scores] = Central(same_trajectory, margin)([episode(lines)])
    assert [paid(scores[seat]) for seat in ("p1", "p2", "a")] == [[1], [0], [1.25]]


def test_a_chain_is_compared_with_all_answers_before_it():
    [scores] = Central(same_trajectory, quality, verifiers=("v",))([chain("0", "no", "1")])
    assert paid(scores["g"]) == [0.0]
    assert paid(scores["r"]) == [1.0], "quality of R 1 after Q 0 adds nothing; a verdict is no answer, and not in Q"


def test_the_outcome_is_added_to_every_turn_of_an_answer():
    [scores] = Central(same_trajectory, margin, beta=0.5, verifiers=("v",))([chain("0", "no", "1")])
    assert (paid(scores["g"]), paid(scores["r"])) == ([0.5], [2.0])
    assert paid(scores["v"]) == [1.0], "a verifier is paid for the truth alone"
    [lost] = Central(same_trajectory, None, beta=0.5)([debate(("1", "0", "0"), ("1", "0", "0"))])
    assert paid(lost["d0"]) == [1.0, 1.0], "the team's answer was that of its last line, and wrong"


@pytest.mark.parametrize(
    ("generator", "verdict", "pay"),
    [("1", "yes", 1), ("0", "no", 1), ("1", "no", 0), ("0", "Yes!", 0), ("0", "nobody knows", 0), ("1", "", 0)],
)
def test_a_verifier_is_paid_where_its_verdict_is_the_truth(generator, verdict, pay):
    [scores] = Central(same_trajectory, margin, verifiers=("v",))([chain(generator, verdict, "1")])
    assert paid(scores["v"]) == [pay]


def test_a_verdict_is_on_the_last_answer_that_was_read():
    lines = [("g", 0, 0, "0", ()), ("h", 0, 1, "1", (0,)), ("v", 0, 2, "yes", (1, 0))]
    [scores] = Central(same_trajectory, verifiers=("v",))([episode(lines)])
    assert paid(scores["v"]) == [1.0]
    [deaf] = Central(same_trajectory, verifiers=("v",))([episode([("g", 0, 0, "1", ()), ("v", 0, 0, "yes", ())])])
    assert paid(deaf["v"]) == [0.0], "who has read nothing has judged nothing"


def test_verdicts_are_read_from_their_first_word():
    assert [read_verdict(w) for w in ("yes", " NO, it is", "**Yes**", "maybe yes", "nope", "")] == [
        True, False, True, None, None, None,
    ]  # fmt: skip


def test_groups_are_task_seat_and_turn_as_in_the_sheet():
    """g = (1, 0), r = (1, 0), and a verifier that is never right: +-.707 for g and r, 0 for v."""
    episodes = judge_episodes(
        Central(same_trajectory, verifiers=("v",)), [chain("1", "no", "1", 0), chain("0", "yes", "0", 1)]
    )
    batch = assign(episodes, "agent", PerTurn(Standardized(1, 0.0)))
    assert credit_of(batch, episodes) == {
        "g": pytest.approx([HALF, -HALF]),
        "v": [0, 0],
        "r": pytest.approx([HALF, -HALF]),
    }


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=8), st.sampled_from([None, margin, quality])
)
def test_a_verifier_that_is_always_right_gets_no_advantage(outcomes, shape):
    """Whatever the others earn and however they are shaped."""
    played = [
        chain(str(int(first)), "yes" if first else "no", str(int(last)), i) for i, (first, last) in enumerate(outcomes)
    ]
    judge = Central(same_trajectory, shape, beta=0.5, verifiers=("v",))
    episodes = judge_episodes(judge, played)
    credit = credit_of(assign(episodes, "agent", PerTurn(Standardized(1, 1e-6))), episodes)
    assert credit["v"] == [0] * len(outcomes)


def credit_of(batch, episodes):
    """The credit of each seat's last turn, by sample; 0 where it makes no row."""
    rows = {(row.trace[2], row.trace[1]): float(row.credit[np.flatnonzero(row.mask)[-1]]) for row in batch.rows}
    return {t.seat: [rows.get((t.seat, e.sample), 0) for e in episodes] for t in episodes[0].traces}


def test_the_vote_of_all_turns_of_all_attempts_may_be_the_label():
    """Two debates: 5 says four turns of eight, and 1 (which is true) three."""
    first, second = debate(("5", "5"), ("1", "5")), debate(("1", "2"), ("1", "5"))
    scores = Central(all_earlier_rounds, raw=Consensus())([first, second])
    assert [paid(s[d]) for s in scores for d in ("d0", "d1")] == [[1, 0], [1, 1], [0, 0], [0, 1]]


def test_components_are_kept_by_seat_and_turn_and_reach_the_metrics():
    episodes = judge_episodes(Central(all_earlier_rounds, margin), [debate(("0", "1"), ("1", "1"))])
    score = episodes[0].traces[0].score
    assert score.components == {"d0.1.raw": 0, "d0.1.paid": 0, "d0.2.raw": 1, "d0.2.paid": 1.25}
    assert score.value == pytest.approx((0 + 1.25) / 2)
    batch = assign(episodes, "agent", PerTurn(lambda scores: [1.0 for _ in scores]))
    numbers = describe(episodes, {"agent": batch}, {"agent": {}}).numbers
    assert numbers["reward/d0.2.paid"] == 1.25
    assert numbers["reward/d1.1.raw"] == 1.0


def test_a_seat_that_never_came_to_speak_learns_nothing():
    played = episode([("a", 0, 0, "1", ())])
    silent = Trace("t", 0, "b", "agent", ())
    [judged] = judge_episodes(
        Central(same_trajectory), [Episode("t/0", TASK, 0, (*played.traces, silent), "1", played.info)]
    )
    assert [trace.score is None for trace in judged.traces] == [False, True]


def test_a_turn_without_a_token_is_judged_as_silence_and_has_no_span():
    played = episode([("a", 0, 0, "1", ()), ("a", 1, 0, "", ())])
    minutes = played.info["transcript"]
    cut = Episode("t/0", TASK, 0, played.traces, "", {"transcript": (minutes[0], {**minutes[1], "turns": ()})})
    [scores] = Central(same_trajectory)([cut])
    assert (paid(scores["a"]), scores["a"].value) == ([1.0], 0.5)


def test_episodes_without_minutes_and_odd_weights_are_refused():
    with pytest.raises(BadInput, match="no team has talked"):
        Central(same_trajectory)([Episode("t/0", TASK, 0, (), "1")])
    with pytest.raises(BadInput, match="not a weight"):
        Central(same_trajectory, alpha=math.inf)


def test_it_judges_alone_where_its_judge_does_and_goes_through_json():
    assert Central(same_trajectory).judges_alone
    assert not Central(same_trajectory, raw=Consensus()).judges_alone
    judge = Central(own_earlier_rounds, quality, beta=0.5, verifiers=("v",), raw=by_task)
    assert from_json(to_json(judge)) == judge
