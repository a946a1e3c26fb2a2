import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.credit.batch import Row
from evolvent.credit.pairs import pack_whole_groups, pairs_of
from evolvent.errors import BadInput


def row(task, sample, length=4):
    mask = np.arange(length) > 0
    credit = mask.astype(np.float32)
    tokens = np.arange(length)
    return Row((task, "agent"), (task, sample, "agent"), tokens, mask, mask, np.zeros(length), credit, (0,))


groups = st.lists(st.lists(st.integers(2, 9), min_size=1, max_size=4), max_size=6).map(
    lambda made: [row(f"t{i}", j, n) for i, lengths in enumerate(made) for j, n in enumerate(lengths)]
)


def test_every_two_attempts_at_a_task_are_a_pair():
    rows = [row("a", 0), row("b", 0), row("a", 1), row("a", 2), row("c", 0)]
    assert pairs_of(rows) == [(0, 2), (0, 3), (2, 3)]
    assert pairs_of([]) == []


@given(groups, st.integers(36, 80), st.randoms(use_true_random=False))
def test_no_pair_is_parted_and_no_row_lost_whatever_the_order(rows, max_tokens, random):
    packs = pack_whole_groups(rows, max_tokens)
    assert sorted(r.trace for p in packs for r in p) == sorted(r.trace for r in rows)
    assert all(len(p) * max(len(r.tokens) for r in p) <= max_tokens for p in packs)
    assert sum(len(pairs_of(p)) for p in packs) == len(pairs_of(rows))
    for one, other in itertools.combinations(packs, 2):
        assert not {r.group for r in one} & {r.group for r in other}
    shuffled = random.sample(rows, len(rows))
    assert [[r.trace for r in p] for p in pack_whole_groups(shuffled, max_tokens)] == [
        [r.trace for r in p] for p in packs
    ]


def test_groups_fill_a_micro_batch_before_the_next_begins():
    rows = [row(task, i) for task in "abc" for i in range(2)]
    assert [[r.trace[0] for r in p] for p in pack_whole_groups(rows, 16)] == [["a", "a", "b", "b"], ["c", "c"]]


def test_a_group_that_does_not_fit_says_what_would():
    with pytest.raises(BadInput, match="micro_tokens=8"):
        pack_whole_groups([row("a", 0), row("a", 1)], 7)


def test_a_trace_of_several_contexts_is_no_one_action():
    with pytest.raises(BadInput, match="one context"):
        pairs_of([row("a", 0), row("a", 0), row("a", 1)])
