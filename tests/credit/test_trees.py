import numpy as np
import pytest

from evolvent.credit.advantage import Centred, Standardized
from evolvent.credit.batch import assign
from evolvent.credit.trees import PerTree
from evolvent.errors import BadInput
from evolvent.records import Episode, Group, Origin, Private, Reference, Score, Span, Task, Trace, Turn, said

TASK = Task("t", "f", 1, (said("user", "?"),), Private("7"), Reference("evolvent.rewards:exact"), Origin("x"))


def trace(seat, own, tree, sample=0):
    """A prompt of two tokens and a reply of three for each of a seat's `own` nodes."""
    turns, spans = [], []
    for number in own:
        for is_reply in (False, True):
            tokens = (number,) * (3 if is_reply else 2)
            turns.append(
                Turn(f"{seat}{number}", None, seat, 0, said("assistant", "x"), tokens, (is_reply,) * len(tokens),
                     starts_context=not is_reply)
            )  # fmt: skip
        spans.append(Span(len(turns) - 1, 0, 3, tree[number]))
    parts = {f"node {number}": value for number, value in enumerate(tree)}
    return Trace("t", sample, seat, seat, tuple(turns), score=Score(0.0, parts, spans=tuple(spans)))


def credits_of(advantage, *traces):
    return advantage.by_trace([Group(("t", traces[0].seat), traces)])[0]


def test_a_node_is_compared_with_all_nodes_of_its_tree_whoever_made_them():
    # the mean of 1 0 0 0 is .25
    [of_a] = credits_of(PerTree(Centred()), trace("a", [0, 2], [1.0, 0.0, 0.0, 0.0]))
    assert of_a.tolist() == [0, 0, 0.75, 0.75, 0.75, 0, 0, -0.25, -0.25, -0.25]
    [of_b] = credits_of(PerTree(Centred()), trace("b", [3, 1], [1.0, 0.0, 0.0, 0.0]))
    assert of_b.tolist() == [0, 0, -0.25, -0.25, -0.25] * 2


def test_trees_of_one_task_are_not_mixed():
    """In one group of eight the second tree, all wrong, would be punished for the luck of the first."""
    lucky, dead = trace("a", [0, 1], [1.0, 0.0]), trace("a", [0, 1], [0.0, 0.0], sample=1)
    first, second = credits_of(PerTree(Standardized(1, 0.0)), lucky, dead)
    assert np.abs(first).max() == pytest.approx(1 / np.sqrt(2))
    assert not second.any()


def test_the_order_of_nodes_does_not_matter():
    values = [1.0, 0.0, 0.5, 0.0]
    [one] = credits_of(PerTree(Standardized(1, 1e-4)), trace("a", [0], values))
    [other] = credits_of(PerTree(Standardized(1, 1e-4)), trace("a", [3], values[::-1]))
    assert one.tolist() == pytest.approx(other.tolist())


def test_a_tree_of_one_node_has_no_signal():
    [alone] = credits_of(PerTree(Standardized(1, 1e-4)), trace("a", [0], [1.0]))
    assert alone.tolist() == [0.0] * 5


def test_traces_without_a_tree_are_compared_with_each_other():
    plain = [Trace("t", i, "a", "a", (), score=Score(float(i))) for i in range(2)]
    assert credits_of(PerTree(Centred()), *plain) == [-0.5, 0.5]


def test_every_node_becomes_a_row_of_its_own_with_its_own_credit():
    made = trace("a", [0, 2], [1.0, 0.0, 0.0, 0.0])
    batch = assign([Episode("t/0", TASK, 0, (made,))], "a", PerTree(Centred()))
    assert [(row.tokens[0], row.credit.max(), row.credit.min()) for row in batch.rows] == [(0, 0.75, 0), (2, 0, -0.25)]


def test_an_advantage_that_looks_at_the_order_is_refused():
    with pytest.raises(BadInput, match="earned the same"):
        credits_of(PerTree(lambda scores: [float(i) for i in range(len(scores))]), trace("a", [0], [1.0, 1.0]))
