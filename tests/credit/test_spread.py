import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.credit.advantage import Standardized
from evolvent.credit.spread import credit_steps, spread_evenly, spread_to_go, standardize_steps
from evolvent.errors import BadInput
from evolvent.records import Group, Message, Score, Span, Text, Trace, Turn

LENGTHS = [2, 3, 2]  # what was asked, what the policy said, what it said next
STEPS = [Span(1, 0, 2, 1.0), Span(1, 2, 3, -1.0), Span(2, 0, 2, 0.5)]


def trace(spans, value=1.0, lengths=LENGTHS):
    turns = tuple(
        Turn("t", None, "agent", 0, Message("assistant", (Text(""),)), tuple(range(n)), (True,) * n) for n in lengths
    )
    return Trace("task", 0, "agent", "p", turns, score=Score(value, spans=tuple(spans)))


def test_steps_worked_by_hand():
    # tokens:                                 asked   step 1  step 2  step 3
    assert spread_evenly(STEPS, LENGTHS).tolist() == [0, 0, 1, 1, -1, 0.5, 0.5]
    # to go: 1 - 1 + 0.5 up to the end of step 1, then -1 + 0.5, then 0.5
    assert spread_to_go(STEPS, LENGTHS).tolist() == [0.5, 0.5, 0.5, 0.5, -0.5, 0.5, 0.5]
    assert spread_evenly([], LENGTHS).tolist() == [0] * 7
    assert spread_evenly([Span(0, 0, 2, 1.0), Span(0, 1, 2, 2.0)], [2]).tolist() == [1, 3]


steps_of_a_trace = st.lists(st.integers(1, 4), min_size=1, max_size=6).flatmap(
    lambda sizes: st.tuples(st.just(sizes), st.lists(st.integers(-8, 8), min_size=len(sizes), max_size=len(sizes)))
)


@given(steps_of_a_trace)
def test_the_first_token_has_the_sum_of_all_steps_and_the_last_that_of_its_own(made):
    sizes, values = made
    bounds = np.cumsum([0, *sizes])
    spans = [Span(0, int(bounds[i]), int(bounds[i + 1]), float(v)) for i, v in enumerate(values)]
    to_go, even = spread_to_go(spans, [sum(sizes)]), spread_evenly(spans, [sum(sizes)])
    assert to_go[0] == sum(values) and to_go[-1] == values[-1]
    assert even.tolist() == [float(v) for v, n in zip(values, sizes, strict=True) for _ in range(n)]
    assert [to_go[b] for b in bounds[:-1]] == [sum(values[i:]) for i in range(len(values))]


def test_steps_of_a_group_are_standardised_together():
    # values 1, 0, 0, 0 in two traces: the numbers of a group's scores
    assert standardize_steps([[1, 0], [0, 0]], ddof=1, eps=0.0) == [[1.5, -0.5], [-0.5, -0.5]]
    assert standardize_steps([[0.1, 0.1], [0.1]], ddof=0, eps=0.0) == [[0, 0], [0]]
    assert standardize_steps([[2.0], []], ddof=1, eps=0.0) == [[0], []]


def test_a_group_credited_by_its_steps_worked_by_hand():
    # steps 1 and -1 against 0 and 0: mean 0, sample deviation sqrt(2/3): 1.2247, -1.2247, 0, 0
    good = trace([Span(1, 0, 2, 1.0), Span(2, 0, 2, -1.0)])
    none = trace([Span(1, 0, 2, 0.0), Span(2, 0, 2, 0.0)])
    first, second = credit_steps(Group(("task", "agent"), (good, none)), ddof=1, eps=0.0)
    root = 1.5**0.5
    # to go: 0 up to the end of step 1, -1.2247 behind it
    assert first.tolist() == pytest.approx([0, 0, 0, 0, -root, -root, -root])
    assert second.tolist() == [0] * 7


def test_traces_without_steps_have_the_credit_of_their_score():
    scores = [1.0, 0.0, 0.0, 0.0]
    made = credit_steps(Group(("task", "agent"), tuple(trace([], s) for s in scores)), ddof=0, eps=0.0)
    for credit, wanted in zip(made, Standardized(ddof=0, eps=0.0)(scores), strict=True):
        assert credit.tolist() == pytest.approx([wanted] * 7)


@pytest.mark.parametrize("span", [Span(3, 0, 1, 1.0), Span(1, 0, 4, 1.0), Span(1, 2, 1, 1.0), Span(-1, 0, 1, 1.0)])
def test_a_step_outside_its_trace_is_refused(span):
    for spread in (spread_evenly, spread_to_go):
        with pytest.raises(BadInput, match="outside"):
            spread([span], LENGTHS)
