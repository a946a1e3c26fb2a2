import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.credit.advantage import Centred, Standardized
from evolvent.credit.batch import assign
from evolvent.credit.turns import PerTurn
from evolvent.errors import BadInput
from evolvent.records import Episode, Group, Origin, Reference, Score, Span, Task, Trace, Turn, said

HALF = math.sqrt(0.5)
TASK = Task("t", "f", 1, (said("user", "q"),), None, Reference("evolvent.rewards:exact"), Origin("test"))


def turn(number, spoken, num):
    words = said("assistant" if spoken else "user", "w")
    return Turn(f"t{number}", None, "s", number, words, (7,) * num, (spoken,) * num, starts_context=number == 0)


def trace(seat, sample, values, *, lengths=None, whole=None):
    """One heard turn before each spoken one; span k has value k."""
    lengths = lengths or [2] * len(values)
    turns = tuple(turn(i, i % 2 == 1, lengths[i // 2] if i % 2 else 3) for i in range(2 * len(values)))
    spans = tuple(Span(2 * k + 1, 0, lengths[k], v) for k, v in enumerate(values)) if whole is None else ()
    score = Score(sum(values) if whole is None else whole, spans=spans)
    return Trace("t", sample, seat, "agent", turns, score=score)


def credits(traces, within):
    (found,) = PerTurn(within).by_trace([Group(("t", "s"), tuple(traces))])
    return [list(np.asarray(c)[np.array(t.mask)]) for c, t in zip(found, traces, strict=True)]


def test_each_seat_and_turn_is_compared_with_itself_as_in_the_sheet():
    """Two samples of a chain: generator (1, 0), verifier (0, 0), refiner (1, 0); pairs in a flat list would differ."""
    rewards = {"generator": (1, 0), "verifier": (0, 0), "refiner": (1, 0)}
    episodes = [
        Episode(f"t/{i}", TASK, i, tuple(trace(seat, i, [r[i]]) for seat, r in rewards.items())) for i in range(2)
    ]
    batch = assign(episodes, "agent", PerTurn(Standardized(1, 0.0)))
    wanted = {"generator": (HALF, -HALF), "verifier": (0, 0), "refiner": (HALF, -HALF)}
    for i in range(2):
        for seat in rewards:
            row = [r for r in batch.rows if r.trace == ("t", i, seat)]
            found = row[0].credit[row[0].mask] if row else np.zeros(2)
            assert found == pytest.approx([wanted[seat][i]] * 2)


def test_a_verifier_that_is_always_right_learns_nothing():
    assert credits([trace("s", i, [1.0]) for i in range(4)], Standardized(1, 1e-6)) == [[0, 0]] * 4


def test_turns_of_one_trace_have_credits_of_their_own():
    found = credits([trace("s", 0, [1, 0]), trace("s", 1, [0, 1])], Centred())
    assert found == [[0.5, 0.5, -0.5, -0.5], [-0.5, -0.5, 0.5, 0.5]]


def test_a_turn_that_only_one_attempt_reached_has_nothing_to_be_compared_with():
    found = credits([trace("s", 0, [1, 5]), trace("s", 1, [0])], Centred())
    assert found == [[0.5, 0.5, 0, 0], [-0.5, -0.5]]


def test_without_spans_a_turn_is_worth_what_the_trace_is():
    found = credits([trace("s", 0, [0, 0], whole=1.0), trace("s", 1, [0, 0], whole=0.0)], Centred())
    assert found == [[0.5] * 4, [-0.5] * 4]


def test_a_span_of_words_that_were_heard_is_refused():
    bad = Trace(
        "t", 0, "s", "agent", (turn(0, False, 3), turn(1, True, 2)), score=Score(1.0, spans=(Span(0, 0, 3, 1.0),))
    )
    with pytest.raises(BadInput, match="no turn that the policy wrote"):
        PerTurn(Centred()).by_trace([Group(("t", "s"), (bad,))])


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), min_size=2, max_size=5))
def test_credits_of_a_slot_add_up_to_nothing(values):
    traces = [trace("s", i, v) for i, v in enumerate(values)]
    found = credits(traces, Centred())
    for slot in range(3):
        assert sum(c[2 * slot] for c, v in zip(found, values, strict=True) if slot < len(v)) == pytest.approx(0)
